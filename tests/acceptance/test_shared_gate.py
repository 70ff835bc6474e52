"""A gate that nodes share on Valkey, before a ledger on PostgreSQL: what it loses changes no answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tests.acceptance.client import Api, confirmed, refused
from tests.acceptance.product import Server, campaign_toml, eventually, run_cli
from tests.servers import Server as Store
from tests.servers import postgresql, valkey

SLUG = "gated"
UNITS = 6


class House:
    """Two nodes, one ledger, one gate; `holders` have taken everything."""

    def __init__(self, directory: Path, database: Store, gate: Store) -> None:
        url = sa.make_url(database.url).set(drivername="postgresql")
        settings = {
            "HEADGATE_LEDGER__URL": url.render_as_string(hide_password=False),
            "HEADGATE_GATE__URL": gate.url,
            "HEADGATE_SECRET_FILE": str(directory / "secret.key"),
        }
        file = directory / "campaign.toml"
        file.write_text(campaign_toml(SLUG, (("central", UNITS), ("north", 1_000))), encoding="utf-8")
        run_cli("campaign", "create", file, data=directory / "cli", settings=settings).ok()
        self.gate: Any = redis.Redis.from_url(gate.url, decode_responses=True)
        self.nodes = [Server(directory / f"node-{number}", settings=settings).start() for number in range(2)]
        self.apis = [Api(node.url) for node in self.nodes]
        self.holders = {
            token: confirmed(self.apis[0].claim(SLUG, token, "central"))["id"] for token in self.people(UNITS)
        }

    def people(self, count: int) -> list[str]:
        return [self.apis[0].session() for _ in range(count)]

    def asked(self) -> int:
        return int(self.gate.info("commandstats").get("cmdstat_hmget", {}).get("calls", 0))

    def place(self) -> int:
        (key,) = self.gate.keys("headgate:*:claimants") or [""]
        return int(self.gate.hget(key, "seq")) if key else -1

    def everybody_is_told_the_truth(self) -> None:
        for api in self.apis:
            for token, claim_id in self.holders.items():
                assert confirmed(api.claim(SLUG, token, "central"), status=200)["id"] == claim_id
            for stranger in self.people(3):
                refused(api.claim(SLUG, stranger, "central"), 409, "sold_out")

    def end(self) -> None:
        for api in self.apis:
            api.close()
        for node in self.nodes:
            node.end()
        self.gate.close()


@pytest.fixture
def house(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with postgresql(tmp_path_factory.mktemp("database")) as database, valkey(tmp_path) as gate:
        made = House(tmp_path, database, gate)
        yield made
        made.end()


def test_whatever_the_gate_loses_holders_keep_their_claims_and_strangers_are_refused(house: House) -> None:
    eventually("the keeper has told the gate", lambda: house.place() == UNITS)
    house.everybody_is_told_the_truth()
    before = house.asked()
    house.everybody_is_told_the_truth()
    assert house.asked() > before, "refusals go past the gate"
    house.gate.flushall()
    house.everybody_is_told_the_truth()
    eventually("the gate is built again", lambda: house.place() == UNITS)
    house.everybody_is_told_the_truth()
    # Everybody who claims anywhere in the campaign moves the gate's place.
    late = house.apis[1].session()
    confirmed(house.apis[1].claim(SLUG, late, "north"))
    refused(house.apis[0].claim(SLUG, late, "central"), 409, "limit_reached")
    eventually("the gate follows", lambda: house.place() == UNITS + 1)
    # A unit that comes back on one node is had on the other.
    token, claim_id = house.holders.popitem()
    assert house.apis[0].cancel(SLUG, token, claim_id).status_code == 200
    newcomer = house.apis[1].session()
    house.holders[newcomer] = confirmed(house.apis[1].claim(SLUG, newcomer, "central"))["id"]
    house.everybody_is_told_the_truth()
