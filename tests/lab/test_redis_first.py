"""The redis-first baseline: exact as long as its store keeps its memory, whoever else dies; and what it loses then."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as postgresql_dialect

from bench.baselines.redis_first import ledger
from bench.baselines.redis_first.client import AnswerLost, Client, GateAway
from bench.baselines.redis_first.gate import GROUP, Claim, Gate, Win, key
from headgate.lab.crowd import Heard, Wish, rush, wishes
from headgate.storage.sql import schema
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.system import SystemClock
from tests.acceptance.product import STOP_S, eventually
from tests.lab.redis_first_programs import SLUG, Programs, campaign, programs
from tests.servers import Server, ValkeyCluster, postgresql, valkey, valkey_cluster
from tests.storage.test_servers import Cut

BACK_S = 20.0


@pytest.fixture(scope="module")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with postgresql(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Server]:
    """A Valkey that writes nothing to disk."""
    with valkey(tmp_path, "--appendonly", "no") as server:
        yield server


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    return f"t{abs(hash(request.node.nodeid))}"


@pytest.fixture
def running(tmp_path: Path, store: Server, postgresql_server: Server, database: str) -> Iterator[Programs]:
    with programs(tmp_path, store.url, postgresql_server, database) as made:
        yield made


@contextlib.contextmanager
def asking(url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(url, decode_responses=True)
    try:
        yield client
    finally:
        client.close()


def crowd(running: Programs, wanted: Iterable[Wish]) -> Heard:
    heard = asyncio.run(rush("127.0.0.1", running.port, SLUG, iter(wanted), 32))
    assert heard.lost_connections == 0
    return heard


def people(count: int, pool: str = "central", first: int = 0) -> list[Wish]:
    return [Wish(f"person-{number}", pool) for number in range(first, first + count)]


def all_written(running: Programs, told: set[str]) -> None:
    eventually("everything that was confirmed is in the ledger", lambda: running.written() == told)
    tally = SqlCampaigns(running.engine, SystemClock()).tally(SLUG)
    assert tally.ok, tally
    assert tally.confirmed == len(told)
    assert running.ledger("SELECT seq FROM claim ORDER BY seq") == list(range(1, len(told) + 1))


def test_the_tables_are_those_that_an_auditor_knows() -> None:
    def columns(table: sa.Table) -> list[tuple[Any, ...]]:
        dialect = postgresql_dialect.dialect()  # type: ignore[no-untyped-call]
        return [(one.name, one.type.compile(dialect), one.nullable, one.primary_key) for one in table.columns]

    def keys(table: sa.Table) -> set[str]:
        checks = {str(one.sqltext) for one in table.constraints if isinstance(one, sa.CheckConstraint)}
        unique = {str(sorted(one.columns.keys())) for one in table.constraints if isinstance(one, sa.UniqueConstraint)}
        return checks | unique

    for name, table in ledger.METADATA.tables.items():
        assert columns(table) == columns(schema.METADATA.tables[name])
        assert keys(table) == keys(schema.METADATA.tables[name])
    assert {"campaign", "pool", "claim"} <= ledger.METADATA.tables.keys()


def test_the_stock_is_sold_exactly(running: Programs, store: Server) -> None:
    stock = {"north": 150, "middle": 40, "south": 0}
    running.sell(stock)
    running.serve()
    consumer = running.consume()
    tokens = [f"person-{number}" for number in range(400)]
    wanted = list(wishes(tokens, list(stock), exponent=0.7, again=0.2, seed=5))
    demand = Counter(pool for _, pool in {(wish.token, wish.pool) for wish in wanted})
    heard = crowd(running, wanted)
    assert set(heard.outcomes) == {"confirmed", "sold_out"}
    assert len(heard.confirmed) == sum(min(demand[pool], units) for pool, units in stock.items())
    all_written(running, set(heard.confirmed.values()))
    assert dict(running.ledger("SELECT code, remaining FROM pool")) == {
        pool: units - min(demand[pool], units) for pool, units in stock.items()
    }
    with asking(store.url) as client:
        eventually("nothing waits for the ledger any more", lambda: client.xlen(key(SLUG, "wins")) == 0)
        assert not client.exists(key(SLUG, "rejected"))
    consumer.terminate()
    assert consumer.wait(STOP_S) == 0


def test_a_person_has_one_claim_however_often_they_ask(running: Programs) -> None:
    running.sell({"central": 5, "other": 5})
    running.serve()
    running.consume()
    heard = crowd(running, [Wish("ann", "central")] * 64)
    assert heard.outcomes == {"confirmed": 64}
    again = running.api.claim(SLUG, "ann", key="any")
    assert (again.status_code, again.json()["outcome"]) == (200, "confirmed")
    assert running.mine("ann") == [again.json()["claim"]]
    elsewhere = running.api.claim(SLUG, "ann", "other")
    assert (elsewhere.status_code, elsewhere.json()["outcome"]) == (409, "limit_reached")
    first = running.api.claim(SLUG, "bob")
    assert first.status_code == 201
    assert first.json()["claim"].keys() == {"id", "code", "pool", "ordinal", "at", "status"}
    assert running.mine("carol") == []
    all_written(running, {again.json()["claim"]["id"], first.json()["claim"]["id"]})


def test_what_cannot_be_sold_is_refused_by_name(running: Programs) -> None:
    running.sell({"central": 5}, opens_at="2098-01-01T00:00:00Z")
    running.sell({"central": 5}, slug="over", closes_at="2020-01-02T00:00:00Z")
    running.serve()
    api = running.api
    body = f"/api/v1/campaigns/{SLUG}/claims"
    token = {"Authorization": "Bearer ann"}
    answers = {
        "not_open": (409, api.claim(SLUG, "ann")),
        "closed": (409, api.claim("over", "ann")),
        "wrong_pool": (409, api.claim(SLUG, "ann", "nowhere")),
        "no_session": (401, api.claim(SLUG, None)),
        "unknown_campaign": (404, api.claim("nothing", "ann")),
        "invalid": (400, api.claim(SLUG, "ann", 5)),
        "not_found": (404, api.request("GET", "/api/v1/campaigns")),
    }
    for outcome, (status, answer) in answers.items():
        assert (answer.status_code, answer.json()["outcome"]) == (status, outcome)
        assert answer.headers["content-type"] == "application/problem+json"
    assert api.request("GET", body, headers=token).status_code == 405
    assert api.request("POST", body, headers=token, content=b"{}").status_code == 415
    assert api.request("POST", body, headers=token, json={"pool": "x" * 20_000}).status_code == 413
    assert api.request("GET", "/livez").status_code == 200


def test_a_consumer_that_is_killed_in_the_middle_loses_nothing(running: Programs, store: Server) -> None:
    running.sell({"central": 700})
    running.serve()
    told = set(crowd(running, people(650)).confirmed.values())
    assert len(told) == 650
    with running.engine.begin() as holder, asking(store.url) as client:
        # It has a batch in hand, and its transaction cannot go on.
        holder.exec_driver_sql("SELECT value FROM counter FOR UPDATE")
        killed = running.consume()
        eventually("a batch was handed out", lambda: client.exists(key(SLUG, "wins")) and in_hand(client))
        eventually("its transaction waits", lambda: waiting_for_locks(running))
        killed.kill()
        killed.wait()
        assert in_hand(client) > 0
    assert running.written() == set()
    running.consume()
    all_written(running, told)
    with asking(store.url) as client:
        eventually("nothing waits for the ledger any more", lambda: client.xlen(key(SLUG, "wins")) == 0)
        assert not client.exists(key(SLUG, "rejected"))


def in_hand(client: redis.Redis) -> int:
    """Wins that were handed to a consumer and not acknowledged."""
    try:
        return int(client.xpending(key(SLUG, "wins"), GROUP)["pending"])
    except redis.ResponseError:
        return 0


def waiting_for_locks(running: Programs) -> bool:
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(running.ledger(waiting))


def test_a_batch_that_was_committed_and_not_acknowledged_changes_nothing(running: Programs) -> None:
    running.sell({"central": 3})
    (sold,) = ledger.read_campaigns(running.engine).values()
    wins = [win(number, number) for number in range(3)]
    assert ledger.record(running.engine, sold, wins[:2]) == []
    assert ledger.record(running.engine, sold, wins) == []
    assert ledger.record(running.engine, sold, wins) == []
    all_written(running, {one.claim.id for one in wins})


def test_wins_that_there_is_no_place_for_are_not_written(running: Programs) -> None:
    running.sell({"central": 2})
    (sold,) = ledger.read_campaigns(running.engine).values()
    first, same_person, second, too_late = win(1, 1), win(2, 1), win(3, 2), win(4, 3)
    assert ledger.record(running.engine, sold, [first, same_person, second, too_late]) == [same_person, too_late]
    assert ledger.record(running.engine, sold, [same_person, too_late]) == [same_person, too_late]
    all_written(running, {first.claim.id, second.claim.id})


def win(number: int, person: int) -> Win:
    return Win(f"{number}-0", f"{person:032x}", Claim(f"id-{number}", f"code-{number}", "central", 1_000 + number))


def test_an_erased_store_is_filled_from_the_ledger_and_goes_on(running: Programs, store: Server) -> None:
    running.sell({"central": 100})
    running.serve()
    running.consume()
    before = crowd(running, people(60)).confirmed
    all_written(running, set(before.values()))
    with asking(store.url) as client:
        client.flushall()
    assert [claim["id"] for claim in running.mine("person-7")] == [before["person-7"]]
    heard = crowd(running, people(120))
    assert heard.outcomes == {"confirmed": 100, "sold_out": 20}
    assert before.items() <= heard.confirmed.items()
    all_written(running, set(heard.confirmed.values()))


def test_stock_is_not_sold_where_claims_were_erased_again_while_they_were_loaded(
    running: Programs, store: Server
) -> None:
    running.sell({"central": 100})
    (sold,) = ledger.read_campaigns(running.engine).values()
    claims = [(one.person, one.claim) for one in (win(1, 1), win(2, 2))]

    async def load() -> list[bool]:
        client = Client(store.url)
        gate = Gate(client)
        try:
            await gate.remember(sold, claims[:1])
            early = await gate.load(sold, len(claims), {"central": 98})
            await gate.remember(sold, claims)
            return [early, await gate.load(sold, len(claims), {"central": 98})]
        finally:
            await client.close()

    with asking(store.url) as client:
        client.flushall()
        assert asyncio.run(load()) == [False, True]
        assert client.hgetall(key(SLUG, "stock")) == {"central": "98"}


def test_a_store_that_dies_before_the_consumer_ran_takes_confirmed_claims_with_it(
    running: Programs, store: Server
) -> None:
    running.sell({"central": 100})
    running.serve()
    told = crowd(running, people(80)).confirmed
    assert len(told) == 80
    store.kill()
    store.again()
    running.consume()
    eventually("the listener is ready again", running.ready, within_s=BACK_S)
    told_later = crowd(running, people(120, first=1_000)).confirmed
    all_written(running, set(told_later.values()))
    # The ledger is in order; but 180 people have been told that one of 100 units is theirs.
    assert len(told_later) == 100
    assert not set(told.values()) & running.written()
    assert running.mine("person-1") == []


def test_a_store_that_cannot_be_reached_is_said_at_once_and_nothing_is_taken(running: Programs, store: Server) -> None:
    running.sell({"central": 100})
    running.serve()
    store.kill()
    heard = crowd(running, people(200))
    # Whoever gets the one connection that was open may have to be told that it is not certain.
    assert heard.outcomes["overloaded"] >= 199, heard.outcomes
    answer = running.api.claim(SLUG, "ann")
    assert (answer.status_code, answer.json()["outcome"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert not running.ready()
    assert running.api.request("GET", "/livez").status_code == 200
    store.again()
    eventually("the listener is ready again", running.ready, within_s=BACK_S)
    assert running.api.claim(SLUG, "ann").status_code == 201


def test_a_call_that_never_left_is_not_in_doubt(store: Server) -> None:
    async def ask() -> None:
        client = Client(store.url)

        async def call() -> None:
            await client.call(lambda opened: opened.exists("x"))

        await call()
        store.kill()
        # One is sent on the connection that was open, and the other needs a new one.
        on_open, on_new = await asyncio.gather(call(), call(), return_exceptions=True)
        assert (type(on_open), type(on_new)) == (AnswerLost, GateAway)
        assert "refused or was not reached" in str(on_new)
        for says in ("cannot be reached", "a moment ago"):
            with pytest.raises(GateAway, match=says):
                await call()

    asyncio.run(ask())


def test_a_lost_answer_is_unknown_and_asking_again_tells(
    tmp_path: Path, store: Server, postgresql_server: Server, database: str
) -> None:
    cut = Cut(("127.0.0.1", int(store.url.rpartition(":")[2])), at=re.compile(rb"EVALSHA"))
    with programs(tmp_path, f"redis://127.0.0.1:{cut.port}", postgresql_server, database) as running:
        running.sell({"central": 5})
        running.serve()
        # The script is there from now on, so that the next call is one message.
        assert running.api.claim(SLUG, "ann").status_code == 201
        cut.when = "after"
        answer = running.api.claim(SLUG, "bob")
        assert (answer.status_code, answer.json()["outcome"]) == (503, "unknown")
        assert "retry-after" in answer.headers
        (held,) = running.mine("bob")
        again = running.api.claim(SLUG, "bob")
        assert (again.status_code, again.json()["claim"]) == (200, held)
        with asking(store.url) as client:
            assert client.hget(key(SLUG, "stock"), "central") == "3", "sent once"
    cut.close()


def test_a_campaign_on_a_cluster_outlives_the_primary_that_has_it(
    tmp_path: Path, postgresql_server: Server, database: str
) -> None:
    with (
        valkey_cluster(tmp_path) as cluster,
        programs(tmp_path, cluster.url, postgresql_server, database) as running,
    ):
        running.sell({"central": 50, "other": 1_000})
        running.serve()
        running.consume()
        heard = crowd(running, people(80))
        assert heard.outcomes == {"confirmed": 50, "sold_out": 30}
        all_written(running, set(heard.confirmed.values()))
        owner_of(cluster).kill()
        tokens = iter(range(1_000_000))
        eventually(
            "the replica sells",
            lambda: running.api.claim(SLUG, f"later-{next(tokens)}", "other").status_code == 201,
            within_s=BACK_S,
        )
        later = crowd(running, people(100, "other", first=1_000))
        assert later.outcomes == {"confirmed": 100}
        eventually("all of them are in the ledger", lambda: set(later.confirmed.values()) <= running.written())


def owner_of(cluster: ValkeyCluster) -> Server:
    """The server that has the campaign."""
    client = redis.RedisCluster.from_url(cluster.primaries[0].url)
    owner = client.get_node_from_key(key(SLUG, "stock"))
    client.close()
    assert owner is not None
    return next(server for server in cluster.primaries if server.url.endswith(f":{owner.port}"))


def test_a_campaign_that_cannot_be_sold_here_is_not_set_up(running: Programs, store: Server) -> None:
    for content, says in (
        (campaign({"central": 5}, per_person=2), "per_person"),
        (campaign({}), "pools"),
        (campaign({"central": -1}), "units"),
        (campaign({"central": 5}, opens_at="2020-01-01T00:00:00"), "opens_at"),
        (campaign({"central": 5}, closes_at="2019-01-01T00:00:00Z"), "is not after"),
    ):
        refused = running.set_up(content)
        assert refused.returncode == 1
        assert says in refused.stderr
        assert "Traceback" not in refused.stderr
    running.sell({"central": 5})
    again = running.set_up(campaign({"central": 7}))
    assert (again.returncode, "has a campaign 'masks' already" in again.stderr) == (1, True)
    with asking(store.url) as client:
        client.flushall()
    again = running.set_up(campaign({"central": 7}))
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    assert running.ledger("SELECT capacity FROM pool") == [5]
