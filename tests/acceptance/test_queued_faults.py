"""Queued campaigns while consumers, the store and the ledger die: slower, and nothing wrong.

Moments are drawn from a seed that every failure prints; `TEST_SEED` replays one.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.acceptance.client import refused
from tests.acceptance.product import eventually, living
from tests.acceptance.queued_house import SLUG, House, nobody_has_two_and_everything_is_had, pending
from tests.acceptance.waiting_crowd import Person, WaitingCrowd
from tests.servers import Server as Store
from tests.servers import ValkeyCluster, postgresql, valkey, valkey_cluster

SEED = int(os.environ.get("TEST_SEED", "20261201"))
PEOPLE, UNITS = 1_000, 100
STOPS_WITHIN_S = 10.0
TAKEN_OVER_WITHIN_S = 10.0


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with postgresql(tmp_path_factory.mktemp("database")) as server:
        yield server


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with valkey(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with valkey_cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def built(tmp_path: Path, database: Store) -> Iterator[Callable[..., House]]:
    """Two nodes on PostgreSQL, with a rehearsal of which people can be had."""
    houses: list[House] = []

    def build(url: str, units: int = UNITS, **options: Any) -> House:
        house = House(tmp_path, url, database, nodes=2)
        houses.append(house)
        options.setdefault("pools", (("central", units),))
        house.create(units, rehearsal=True, **options)
        house.start()
        return house

    yield build
    for house in houses:
        house.end()


def ends(people: list[Person]) -> Counter[str]:
    return Counter(person.told for person in people)


@pytest.mark.parametrize("kind", ["store", "cluster"])
def test_a_thousand_wait_for_a_hundred_through_two_nodes_and_two_consumers(
    request: pytest.FixtureRequest, built: Callable[..., House], kind: str
) -> None:
    house = built(request.getfixturevalue(kind).url)
    people = house.people(PEOPLE)
    stopped = house.stop_consumers()
    assert len(stopped) == 2
    crowd = WaitingCrowd(house.urls, SLUG)
    assert crowd.ask_once(people) == {"202 pending": PEOPLE}
    assert house.waiting() == PEOPLE
    house.go_on(stopped)
    crowd.run(people)
    assert ends(people) == {"confirmed": UNITS, "sold_out": PEOPLE - UNITS}
    nobody_has_two_and_everything_is_had(house, people, UNITS)
    eventually("nothing waits any more", lambda: house.waiting() == 0)


def test_the_store_is_erased_while_people_wait_and_in_a_rush_and_they_ask_again(
    built: Callable[..., House], store: Store
) -> None:
    house = built(store.url)
    dice = random.Random(SEED)
    people = house.people(PEOPLE)
    stopped = house.stop_consumers()
    crowd = WaitingCrowd(house.urls, SLUG)
    crowd.ask_once(people[: PEOPLE // 2])
    house.store.flushall()
    assert house.mine(people[0].token) == {"claims": [], "pending": False}, "neither a claim nor a place"
    crowd.ask_once(people[: PEOPLE // 2])
    house.go_on(stopped)
    erased = {dice.randint(1, 50), dice.randint(60, 150), dice.randint(200, 600)}
    crowd.on_told = lambda count: house.store.flushall() if count in erased else None
    crowd.run(people)
    context = f"seed {SEED}: {ends(people)}, {sum(person.lost for person in people)} were lost and asked again"
    assert ends(people) == {"confirmed": UNITS, "sold_out": PEOPLE - UNITS}, context
    nobody_has_two_and_everything_is_had(house, people, UNITS)


@contextlib.contextmanager
def held(database: Store) -> Iterator[sa.Connection]:
    """The row that everything which writes has to lock: the ledger answers, and a batch waits for it (3 s at most)."""
    engine = sa.create_engine(database.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT value FROM counter WHERE name = 'claim.seq' FOR UPDATE")
        yield connection
    engine.dispose()


def claims_in(database: Store) -> int:
    engine = sa.create_engine(database.url)
    with engine.connect() as connection:
        found = int(connection.exec_driver_sql("SELECT count(*) FROM claim").scalar_one())
    engine.dispose()
    return found


@pytest.mark.parametrize("committed", [False, True], ids=["before the commit", "after the commit"])
def test_a_consumer_is_killed_in_the_middle_of_a_batch_and_another_goes_on(
    built: Callable[..., House], store: Store, database: Store, committed: bool
) -> None:
    """There is enough for two each, which is allowed; everybody asks for one, without a key."""
    house = built(store.url, units=500, per_person=2)
    people = house.people(200)
    crowd = WaitingCrowd(house.urls, SLUG)
    stopped = house.stop_consumers()
    assert crowd.ask_once(people) == {"202 pending": 200}
    victim, other = stopped
    with held(database):
        house.go_on([victim])
        eventually("it has taken a batch", lambda: house.taken() == 200)
        if committed:
            # So that it cannot tell the queue what came of it.
            store.signal(signal.SIGSTOP)
        else:
            os.kill(victim, signal.SIGKILL)
    if committed:
        eventually("the batch is committed", lambda: claims_in(database) == 200)
        os.kill(victim, signal.SIGKILL)
        store.signal(signal.SIGCONT)
    assert house.waiting() == 200
    assert claims_in(database) == (200 if committed else 0)
    house.go_on([other])
    killed = time.monotonic()
    eventually("nothing waits any more", lambda: house.waiting() == 0)
    assert time.monotonic() - killed < TAKEN_OVER_WITHIN_S
    assert {len(house.decided(person.token)["claims"]) for person in people} == {1}
    assert house.audit()["confirmed"] == 200


def test_consumers_nodes_and_ledger_die_in_a_rush(built: Callable[..., House], store: Store, database: Store) -> None:
    house = built(store.url)
    dice = random.Random(SEED)
    people = house.people(PEOPLE, key="one")

    def kill_consumer() -> None:
        # Both may be on their way back from the blow before.
        os.kill(dice.choice(eventually("a consumer runs", house.consumers)), signal.SIGKILL)

    def kill_node() -> None:
        house.nodes[1].kill_everything()
        house.nodes[1].launch()

    def kill_database() -> None:
        database.kill()
        database.again()

    blows = {
        dice.randint(5, 30): kill_consumer,
        dice.randint(40, 80): kill_database,
        dice.randint(100, 300): kill_node,
        dice.randint(320, 500): kill_consumer,
    }
    crowd = WaitingCrowd(house.urls, SLUG, patience_s=120)
    crowd.on_told = lambda count: blows.pop(count)() if count in blows else None
    crowd.run(people)
    assert not blows
    assert ends(people) == {"confirmed": UNITS, "sold_out": PEOPLE - UNITS}, f"seed {SEED}: {ends(people)}"
    nobody_has_two_and_everything_is_had(house, people, UNITS)


def test_without_the_store_nobody_waits_and_claims_are_still_shown(built: Callable[..., House], store: Store) -> None:
    house = built(store.url)
    holder, waits, comes = house.people(3)
    api = house.apis[0]
    pending(api.claim(SLUG, holder.token))
    (claim,) = house.decided(holder.token)["claims"]
    stopped = house.stop_consumers()
    pending(api.claim(SLUG, waits.token))
    store.kill()
    answer = api.claim(SLUG, comes.token)
    assert (answer.status_code, answer.json()["outcome"]) in ((503, "overloaded"), (503, "unknown"))
    body = refused(api.claim(SLUG, comes.token), 503, "overloaded")
    assert body["reason"] == "store_unavailable"
    assert [found["id"] for found in api.mine(SLUG, holder.token)] == [claim["id"]]
    path = f"/api/v1/campaigns/{SLUG}/claims/mine"
    refused(api.request("GET", path, headers={"Authorization": f"Bearer {waits.token}"}), 503, "unknown")
    store.again()
    house.go_on(stopped)
    people = [Person(person.token) for person in (holder, waits, comes)]
    WaitingCrowd(house.urls, SLUG).run(people)
    assert ends(people) == {"confirmed": 3}
    assert house.audit()["confirmed"] == 3


def test_a_primary_of_the_cluster_dies_while_people_wait(built: Callable[..., House], cluster: ValkeyCluster) -> None:
    house = built(cluster.url)
    people = house.people(300)
    stopped = house.stop_consumers()
    crowd = WaitingCrowd(house.urls, SLUG)
    assert crowd.ask_once(people[:150]) == {"202 pending": 150}
    (key,) = house.queues()
    port = house.store.get_node_from_key(key).port
    next(server for server in cluster.primaries if server.url.endswith(f":{port}")).kill()
    house.go_on(stopped)
    crowd.run(people)
    assert ends(people) == {"confirmed": UNITS, "sold_out": 200}
    nobody_has_two_and_everything_is_had(house, people, UNITS)


def test_a_consumer_that_is_told_to_end_does_so_whatever_it_waits_for(
    built: Callable[..., House], store: Store, database: Store
) -> None:
    house = built(store.url)
    early, late = house.people(2)
    pending(house.apis[0].claim(SLUG, early.token))
    house.decided(early.token)
    first, second = house.consumers()
    os.kill(first, signal.SIGTERM)
    eventually("it ends at once where nothing waits", lambda: not living([first]), within_s=STOPS_WITHIN_S)
    database.signal(signal.SIGSTOP)
    pending(house.apis[0].claim(SLUG, late.token))
    os.kill(second, signal.SIGTERM)
    eventually("it does not wait for the ledger", lambda: not living([second]), within_s=STOPS_WITHIN_S)
    assert house.waiting() == 1
    database.signal(signal.SIGCONT)
    assert len(house.decided(late.token)["claims"]) == 1
