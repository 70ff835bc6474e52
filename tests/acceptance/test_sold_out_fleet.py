"""A campaign of which nothing is left, on nodes that share a gate: nearly everybody is told so without being read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tests.acceptance.client import Api, Wire, bearer, build, claims_path, confirmed, refused
from tests.acceptance.product import Server, campaign_toml, eventually, run_cli
from tests.servers import postgresql, valkey

SLUG = "gone"
UNITS = 4
LIMIT = 200


class Fleet:
    """Two nodes; `holders` have taken everything, and no request was counted for the address that strangers use."""

    def __init__(self, directory: Path, ledger_url: str, gate_url: str) -> None:
        self.settings = {
            "HEADGATE_LEDGER__URL": ledger_url,
            "HEADGATE_GATE__URL": gate_url,
            "HEADGATE_SECRET_FILE": str(directory / "secret.key"),
            "HEADGATE_LIMITS__PER_IP_PER_MINUTE": str(LIMIT),
        }
        self.cli = directory / "cli"
        file = directory / "campaign.toml"
        file.write_text(campaign_toml(SLUG, (("central", UNITS - 1), ("north", 1))), encoding="utf-8")
        run_cli("campaign", "create", file, data=self.cli, settings=self.settings).ok()
        self.gate: Any = redis.Redis.from_url(gate_url, decode_responses=True)
        self.nodes = [Server(directory / f"node-{number}", settings=self.settings).start() for number in range(2)]
        self.apis = [Api(node.url, source="127.0.0.9") for node in self.nodes]
        self.holders: dict[str, tuple[str, str]] = {}
        for number in range(UNITS):
            token = self.person()
            pool = "central" if number < UNITS - 1 else "north"
            self.holders[token] = pool, confirmed(self.apis[0].claim(SLUG, token, pool))["id"]
        for api in self.apis:
            eventually("a node has seen that all is gone", partial(_sold_out, api))
        eventually("the gate has followed", lambda: self.place() == UNITS)

    def person(self) -> str:
        self._sources = getattr(self, "_sources", 20) + 1
        with Api(self.nodes[0].url, source=f"127.0.1.{self._sources}") as other:
            return other.session()

    def holders_get_what_they_hold(self, api: Api) -> None:
        for token, (pool, claim_id) in self.holders.items():
            assert confirmed(api.claim(SLUG, token, pool), status=200)["id"] == claim_id

    def place(self) -> int:
        (key,) = self.gate.keys("headgate:*:claimants") or [""]
        return int(self.gate.hget(key, "seq")) if key else -1

    def seen(self) -> int:
        return int(self.gate.info("commandstats").get("cmdstat_hmget", {}).get("calls", 0))

    def end(self) -> None:
        for api in self.apis:
            api.close()
        for node in self.nodes:
            node.end()
        self.gate.close()


def _sold_out(api: Api) -> bool:
    return bool(api.state(SLUG)["phase"] == "sold_out")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    with postgresql(tmp_path_factory.mktemp("database")) as database, valkey(directory) as gate:
        url = sa.make_url(database.url).set(drivername="postgresql").render_as_string(hide_password=False)
        made = Fleet(directory, url, gate.url)
        yield made
        made.end()


def test_strangers_are_refused_and_holders_get_what_they_hold(fleet: Fleet) -> None:
    before = fleet.seen()
    for api in fleet.apis:
        for pool in ("central", "north", "elsewhere"):
            refused(api.claim(SLUG, fleet.person(), pool), 409, "sold_out")
        fleet.holders_get_what_they_hold(api)
    assert fleet.seen() > before, "nobody has asked the gate"


def test_what_the_gate_loses_changes_no_answer(fleet: Fleet) -> None:
    fleet.gate.flushall()
    for api in fleet.apis:
        refused(api.claim(SLUG, fleet.person()), 409, "sold_out")
        fleet.holders_get_what_they_hold(api)
    eventually("the gate is built again", lambda: fleet.place() == UNITS)


def test_what_is_wrong_with_a_request_is_said_first(fleet: Fleet) -> None:
    api, path, token = fleet.apis[0], claims_path(SLUG), fleet.person()
    refused(api.claim(SLUG, None), 401, "no_session")
    refused(api.claim(SLUG, token[:-4] + "AAAA"), 401, "no_session")
    typed = {**bearer(token), "Content-Type": "text/plain"}
    refused(api.request("POST", path, content=b"{}", headers=typed), 415, "invalid")
    # What a stranger wants changes nothing, so it is not read.
    typed["Content-Type"] = "application/json"
    refused(api.request("POST", path, content=b"{", headers=typed), 409, "sold_out")
    holder = next(iter(fleet.holders))
    refused(api.request("POST", path, content=b"{", headers={**typed, **bearer(holder)}), 400, "invalid")


def test_a_body_that_was_not_read_hurts_no_request_behind_it(fleet: Fleet) -> None:
    headers = [*bearer(fleet.person()).items(), ("Content-Type", "application/json")]
    with Wire(fleet.nodes[0].port) as wire:
        for size in (2, 3_000, 16_000):
            reply = wire.send(build("POST", claims_path(SLUG), headers=headers, body=b"x" * size))
            assert reply.status == 409
        assert wire.send(build("GET", f"/api/v1/campaigns/{SLUG}"), method="GET").status == 200


@pytest.mark.parametrize("first", [0, 5_000])
def test_a_body_that_comes_later_hurts_no_request_behind_it(fleet: Fleet, first: int) -> None:
    """It is answered before the body is there, and the connection goes on when it has come."""
    body = b"x" * 9_000
    headers = [*bearer(fleet.person()).items(), ("Content-Type", "application/json"), ("Content-Length", "9000")]
    request = build("POST", claims_path(SLUG), headers=headers) + body[:first]
    with socket.create_connection(("127.0.0.1", fleet.nodes[0].port), timeout=10) as connection:
        for _ in range(20):
            connection.sendall(request)
            assert answer_on(connection).status == 409
            connection.sendall(body[first:])
            connection.sendall(build("GET", f"/api/v1/campaigns/{SLUG}"))
            assert answer_on(connection).status == 200


def answer_on(connection: socket.socket) -> HTTPResponse:
    answer = HTTPResponse(connection)
    answer.begin()
    answer.read()
    assert not answer.will_close
    return answer


@pytest.mark.parametrize("idle", [False, True])
def test_the_limit_of_an_address_is_exact_over_nodes(fleet: Fleet, idle: bool) -> None:
    """Also where the gate's server has closed the connections that nobody used."""
    token = fleet.person()
    source = "127.0.2.3" if idle else "127.0.2.2"
    nodes = [Api(node.url, source=source) for node in fleet.nodes]
    if idle:
        fleet.gate.client_kill_filter(_type="normal", skipme=True)
    statuses = [nodes[number % 2].claim(SLUG, token).status_code for number in range(LIMIT + 20)]
    assert statuses == [409] * LIMIT + [429] * 20
    answer = nodes[0].claim(SLUG, token)
    refused(answer, 429, "rate_limited")
    assert 0 < int(answer.headers["retry-after"]) <= 61
    for api in nodes:
        api.close()


def test_a_unit_that_comes_back_is_had(fleet: Fleet) -> None:
    token, (_, claim_id) = fleet.holders.popitem()
    assert fleet.apis[0].cancel(SLUG, token, claim_id).status_code == 200
    newcomer = fleet.person()
    fleet.holders[newcomer] = "north", confirmed(fleet.apis[1].claim(SLUG, newcomer, "north"))["id"]
    run_cli("campaign", "topup", SLUG, "central", "1", data=fleet.cli, settings=fleet.settings).ok()
    another = fleet.person()
    fleet.holders[another] = "central", confirmed(fleet.apis[1].claim(SLUG, another, "central"))["id"]
    refused(fleet.apis[0].claim(SLUG, fleet.person(), "central"), 409, "sold_out")
    fleet.holders_get_what_they_hold(fleet.apis[1])
