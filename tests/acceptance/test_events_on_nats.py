"""Events of a whole node on NATS: everything is there once, whoever is killed, and nothing personal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any, cast

import nats as nats_client
import pytest
from nats.js.errors import NotFoundError

from tests.acceptance.client import Api
from tests.acceptance.crowd import Rush, Told
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, create_campaign, eventually, rehearsal_tokens, run_cli
from tests.acceptance.test_events import cursors, expected, keepers
from tests.servers import nats

SLUG = "told"
PEOPLE = 300
SECRET = "hush-hush"


def told(url: str) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        client = await nats_client.connect(url, user="headgate", password=SECRET)
        try:
            stream = client.jetstream()
            count = (await stream.stream_info("headgate")).state.messages
            return [json.loads((await stream.get_msg("headgate", seq)).data or b"") for seq in range(1, count + 1)]
        except NotFoundError:
            return []
        finally:
            await client.close()

    return asyncio.run(read())


def test_keeper_and_server_are_killed_and_every_event_is_there_once(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data, secret = tmp_path / "data", tmp_path / "nats.secret"
    secret.write_text(f"headgate:{SECRET}\n")
    secret.chmod(0o600)
    create_campaign(data, SLUG, (("central", PEOPLE),), rehearsal=True)
    people = [Told(token, "central") for token in rehearsal_tokens(data, SLUG, PEOPLE)]
    with nats(tmp_path_factory.mktemp("nats"), "--user", "headgate", "--pass", SECRET) as store:
        settings = {"HEADGATE_EVENTS__NATS__URL": store.url, "HEADGATE_EVENTS__NATS__SECRET_FILE": str(secret)}
        checks = run_cli("doctor", "--json", data=data, settings=settings).json()["checks"]
        found = {check["name"]: check["found"] for check in checks if check["name"].startswith("events")}
        assert found == {"events": f"NATS at {store.url}", "events nats": "it can be reached"}
        server = Server(data, settings=settings).start()
        try:
            eventually("it has a place", lambda: cursors(data) == ["nats"])
            with Api(server.url) as api:
                eventually("open", lambda: api.phase(SLUG) == "open")
                Rush(server.url, SLUG, connections=32).run(people[: PEOPLE // 2])
                eventually("some are told", lambda: len(told(store.url)) > 10)
                (keeper,) = keepers(server)
                os.kill(keeper, signal.SIGKILL)
                store.kill()
                Rush(server.url, SLUG, connections=32).run(people[PEOPLE // 2 :])
                for person in people[::10]:
                    assert api.cancel(SLUG, person.token, person.claim_ids[0]).status_code == 200
            store.again()
            claims = Ledger(data).claims(SLUG)
            eventually("everything is told", lambda: len(told(store.url)) >= len(expected(claims)), within_s=60)
        finally:
            server.end()
        events = told(store.url)
    assert sorted(event["id"] for event in events) == expected(claims)
    assert SECRET not in server.log()
    text = json.dumps(events)
    assert not [person.token for person in people if person.token in text]
    assert not [claim for claim in claims if cast("bytes", claim.person).hex() in text]
