"""Others are told of everything at least once, whoever is killed in the middle, and of nothing personal."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tests.acceptance.client import Api, confirmed
from tests.acceptance.crowd import Rush, Told
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import (
    Server,
    campaign_toml,
    create_campaign,
    eventually,
    free_port,
    rehearsal_tokens,
    run_cli,
)
from tests.receiver import Received, Receiver, answer, hang
from tests.servers import postgresql, valkey

SLUG = "told"
KEY = b"s" * 32
STREAM = "headgate:{events}"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.secret"
    path.write_text(f"whsec_{base64.b64encode(KEY).decode()}\n")
    path.chmod(0o600)
    return path


def webhook(name: str, url: str, secret: Path | None = None) -> dict[str, str]:
    prefix = f"HEADGATE_EVENTS__WEBHOOKS__{name.upper()}__"
    return {f"{prefix}URL": url} | ({f"{prefix}SECRET_FILE": str(secret)} if secret else {})


def keepers(server: Server) -> list[int]:
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in server.processes()}
    return [
        pid for pid, words in lines.items() if b"--plane" in words and words[words.index(b"--plane") + 1] == b"keeper"
    ]


def cursors(data: Path) -> list[str]:
    """Names of the destinations that have a place; whatever is committed from now on is for them."""
    with contextlib.closing(sqlite3.connect(f"file:{data / 'ledger.db'}?mode=ro", uri=True)) as ledger:
        return [row[0] for row in ledger.execute("SELECT name FROM relay ORDER BY name")]


def expected(claims: Sequence[Any]) -> list[str]:
    """Of claims with `id` and `status`, as an auditor reads them."""
    cancelled = [f"{claim.id}.cancelled" for claim in claims if claim.status == "cancelled"]
    return sorted([f"{claim.id}.confirmed" for claim in claims] + cancelled)


def in_order_of_arrival(events: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By id; whatever came twice was the same."""
    known: dict[str, dict[str, Any]] = {}
    for event in events:
        assert known.setdefault(event["id"], event) == event
    return known


def all_told(receiver: Receiver, wanted: Sequence[str]) -> dict[str, dict[str, Any]]:
    receiver.wait_for(
        f"all of {len(wanted)} events",
        lambda r: {event["id"] for got in r.requests for event in got.events} >= set(wanted),
    )
    known = in_order_of_arrival(receiver.events)
    assert sorted(known) == list(wanted)
    order = list(known)
    for event_id in order:
        claim_id, _, what = event_id.partition(".")
        if what == "cancelled":
            assert order.index(f"{claim_id}.confirmed") < order.index(event_id)
    return known


def is_genuine(got: Received) -> bool:
    content = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    signature = base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode()
    return got.headers["webhook-signature"] == f"v1,{signature}"


def ages(server: Server) -> dict[str, float]:
    """Destination to the age of its oldest event."""
    with Api(server.console_url) as console:
        lines = console.request("GET", "/metrics").text.splitlines()
    name = "headgate_undelivered_event_age_seconds{destination="
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith(name)}


def test_a_keeper_is_killed_in_the_middle_of_a_delivery_and_everything_arrives(data: Path, secret_file: Path) -> None:
    let_go = threading.Event()
    create_campaign(data, SLUG, (("central", 300),), rehearsal=True)
    people = [Told(token, "central", key=f"k{n}") for n, token in enumerate(rehearsal_tokens(data, SLUG, 250))]
    with Receiver(answer(500), answer(200), hang(let_go)) as receiver:
        settings = webhook("shop", receiver.url, secret_file) | webhook(
            "dead", f"http://127.0.0.1:{free_port()}/?t=sekret"
        )
        server = Server(data, settings=settings).start()
        try:
            eventually("both have a place", lambda: cursors(data) == ["webhook:dead", "webhook:shop"])
            with Api(server.url) as api:
                eventually("open", lambda: api.phase(SLUG) == "open")
                Rush(server.url, SLUG, connections=32).run(people)
                for person in people[::10]:
                    assert api.cancel(SLUG, person.token, person.claim_ids[0]).status_code == 200
            receiver.wait_for("a third request", lambda r: len(r.requests) == 3)
            hung = receiver.requests[2]
            (keeper,) = keepers(server)
            os.kill(keeper, signal.SIGKILL)
            let_go.set()
            claims = Ledger(data).claims(SLUG)
            assert len(claims) == 250
            known = all_told(receiver, expected(claims))
            again = [event for got in receiver.requests[3:] for event in got.events]
            assert [event for event in hung.events if event in again] == hung.events, "what was not answered was left"
            assert all(is_genuine(got) for got in receiver.requests)
            assert len(receiver.requests[0].events) <= 100
            eventually("nothing waits for it", lambda: ages(server)["webhook:shop"] == 0)
            assert ages(server)["webhook:dead"] > 0
            eventually("the failure is logged", lambda: server.log().count('"destination": "webhook:dead"') == 2)
            said = [json.loads(line) for line in server.log().splitlines() if '"webhook:dead"' in line]
            # Once by each keeper: the one that was killed, and the one that followed it.
            assert [line["event"] for line in said] == ["events_not_delivered"] * 2
            _nothing_personal(receiver, claims, people, known)
        finally:
            server.end()
    for secret in ("sekret", KEY.decode(), base64.b64encode(KEY).decode()):
        assert secret not in server.log()


def _nothing_personal(receiver: Receiver, claims: Sequence[Any], people: Sequence[Told], known: dict[str, Any]) -> None:
    sent = b"\n".join(got.body for got in receiver.requests)
    persons = {bytes(claim.person).hex().encode() for claim in claims}
    assert not [person for person in persons if person in sent]
    assert not [person.token for person in people if person.token.encode() in sent]
    for event in known.values():
        assert event.keys() == {"id", "type", "at", "campaign", "claim", "position"}
        assert event["claim"].keys() == {"id", "pool", "status"}


@pytest.fixture
def nodes(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Server], Receiver, sa.URL]]:
    """Two nodes on one ledger, told to one receiver."""
    with postgresql(tmp_path_factory.mktemp("database")) as database, Receiver() as receiver:
        url = sa.make_url(database.url).set(drivername="postgresql")
        settings = {
            "HEADGATE_LEDGER__URL": url.render_as_string(hide_password=False),
            "HEADGATE_SECRET_FILE": str(tmp_path / "secret.key"),
        } | webhook("shop", receiver.url)
        file = tmp_path / "campaign.toml"
        file.write_text(campaign_toml(SLUG), encoding="utf-8")
        run_cli("campaign", "create", file, data=tmp_path / "cli", settings=settings).ok()
        made = [Server(tmp_path / f"node-{number}", settings=settings).start() for number in range(2)]
        yield made, receiver, sa.make_url(database.url)
        for node in made:
            node.end()


def test_of_two_nodes_one_tells_and_the_other_goes_on_when_it_is_gone(
    nodes: tuple[list[Server], Receiver, sa.URL],
) -> None:
    (first, second), receiver, url = nodes
    engine = sa.create_engine(url)

    def rows(statement: str) -> Sequence[Any]:
        with engine.connect() as connection:
            return connection.exec_driver_sql(statement).all()

    eventually("the webhook has a place", lambda: rows("SELECT name FROM relay"))
    apis = [Api(first.url), Api(second.url)]
    for turn in range(20):
        api = apis[turn % 2]
        token = api.session()
        claim = confirmed(api.claim(SLUG, token))
        if turn % 4 == 0:
            api.cancel(SLUG, token, claim["id"])
    all_told(receiver, expected(rows("SELECT id, status FROM claim")))
    # The lease names the process that tells.
    holder = int(rows("SELECT holder FROM lease WHERE name = 'keeper'")[0].holder.split(":")[1])
    tells, waits = (first, second) if holder in first.processes() else (second, first)
    tells.kill_everything()
    with Api(waits.url) as api:
        for _ in range(5):
            confirmed(api.claim(SLUG, api.session()))
    all_told(receiver, expected(rows("SELECT id, status FROM claim")))
    for api in apis:
        api.close()
    engine.dispose()


def test_a_stream_is_erased_in_mid_sale_and_filled_again(data: Path, tmp_path: Path) -> None:
    create_campaign(data, SLUG)
    with valkey(tmp_path) as store:
        client: Any = redis.Redis.from_url(store.url)
        settings = {"HEADGATE_GATE__URL": store.url, "HEADGATE_EVENTS__STREAM": "true"}
        server = Server(data, settings=settings).start()

        def told() -> list[str]:
            return [json.loads(fields[b"event"])["id"] for _, fields in client.xrange(STREAM)]

        try:
            with Api(server.url) as api:
                eventually("open", lambda: api.phase(SLUG) == "open")
                for turn in range(30):
                    token = api.session()
                    claim = confirmed(api.claim(SLUG, token))
                    if turn % 5 == 0:
                        api.cancel(SLUG, token, claim["id"])
                    if turn in (10, 20):
                        eventually("something is there", lambda: client.xlen(STREAM))
                        client.flushall()
            claims = Ledger(data).claims(SLUG)
            eventually("everything is there", lambda: sorted(told()) == expected(claims))
            client.flushall()
            eventually("it is filled again, without a new event", lambda: sorted(told()) == expected(claims))
            eventually("nothing waits for it", lambda: ages(server) == {"stream": 0.0})
        finally:
            server.end()
        client.close()


def test_a_webhook_that_cannot_be_used_is_named_before_anything_is_served(data: Path, secret_file: Path) -> None:
    settings = webhook("shop", "https://shop.example/?token=sekret", secret_file)
    create_campaign(data, SLUG)

    def finding() -> tuple[int, dict[str, str]]:
        ran = run_cli("doctor", "--json", data=data, settings=settings)
        (check,) = (check for check in json.loads(ran.out)["checks"] if check["name"] == "events")
        return ran.code, check

    assert finding()[1]["found"] == "webhook shop at https://shop.example, signed"
    away = webhook("shop", f"https://127.0.0.1:{free_port()}/?token=sekret", secret_file)
    checks = {check["name"]: check for check in run_cli("doctor", "--json", data=data, settings=away).json()["checks"]}
    reached = checks["events webhook:shop"]
    assert (reached["verdict"], reached["advice"]) == ("warning", "its events wait in the ledger, for a week at most")
    assert "ConnectionRefusedError" in reached["found"]
    secret_file.chmod(0o644)
    code, check = finding()
    assert (code, check["verdict"]) == (1, "failing")
    assert f"events.webhooks.shop.secret_file is '{secret_file}', which others can read" in check["found"]
    said = Server(data, settings=settings).must_not_start()
    assert "chmod 600" in said
    plain = webhook("shop", "http://shop.example/?token=sekret")
    ran = run_cli("doctor", data=data, settings=plain).failed("events.webhooks.shop.url", "use https")
    assert "sekret" not in said + ran.err + ran.out
