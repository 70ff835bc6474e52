"""What a queue on a server loses, bounds, and says where nobody can tell."""

from __future__ import annotations

import inspect
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog.testing

from headgate.domain.claim import QUEUED
from headgate.domain.outcome import QUEUE_FULL, QUEUE_UNAVAILABLE, SOLD_OUT, UNKNOWN
from headgate.ports.gate import GateAway
from headgate.ports.ledger import LedgerUnavailable
from headgate.ports.limiter import ADDRESSES, Limit
from headgate.ports.pending import Pending
from headgate.ports.queue import QueueState, Taken, Which
from headgate.storage.redis import examination
from headgate.storage.redis.address import GateAddress, parse
from headgate.storage.redis.client import connect
from headgate.storage.redis.gate import RedisGate
from headgate.storage.redis.limiter import RedisLimiter
from headgate.storage.redis.queue import REFUSAL_KEPT_MS, UNDECIDED_MAX
from tests.servers import Server, free_port, valkey, valkey_cluster
from tests.storage.queue_bench import NOTHING, PENDING, RedisBench, person, persons, put, request, settle, state, take
from tests.storage.test_servers import Cut

BACK_S = 20.0

House = Callable[..., tuple[RedisBench, Any]]


@pytest.fixture
def house(gate: GateAddress, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made: list[tuple[RedisBench, Any]] = []

    def build(**options: Any) -> tuple[RedisBench, Any]:
        made.append((RedisBench(gate, monkeypatch, **options), connect(gate)))
        return made[-1]

    yield build
    for bench, client in made:
        bench.close()
        client.close()


def test_after_an_erasure_nobody_waits_and_everybody_may_ask_again(house: House) -> None:
    bench, client = house()
    put(bench, request(1), request(2))
    consumer = bench.consumer("c")
    taken = take(consumer, limit=1)
    client.flushall()
    assert [state(bench, number) for number in (1, 2)] == [NOTHING, NOTHING]
    for which in Which:
        assert take(consumer, which) == Taken([], 0, 0.0)
    assert put(bench, request(1)) == [QUEUED]
    settle(consumer, taken.waiting, SOLD_OUT)
    assert state(bench, 1) == PENDING, "that was decided about a request which is no more"
    assert persons(take(consumer)) == [1]


def test_nobody_waits_for_a_request_of_which_only_the_mark_is_left(house: House) -> None:
    """As after an eviction, which takes keys one by one."""
    bench, client = house()
    put(bench, request(1), request(1, 2))
    client.delete("headgate:1:{campaign:7}:queue")
    assert state(bench, 1) == NOTHING
    assert put(bench, request(1)) == [QUEUED]
    assert persons(take(bench.consumer("c"))) == [1]


def test_scripts_that_were_lost_are_sent_again(house: House) -> None:
    bench, client = house()
    for _ in range(2):
        client.script_flush()
        put(bench, request(1))
        assert state(bench, 1) == PENDING
        consumer = bench.consumer("c")
        settle(consumer, take(consumer).waiting, SOLD_OUT)
        assert state(bench, 1).outcome == "sold_out"


def test_the_queue_is_bounded_and_so_is_what_one_person_may_send(house: House) -> None:
    bench, _ = house(length_max=UNDECIDED_MAX + 3)
    many = [request(1, key=chr(97 + number)) for number in range(UNDECIDED_MAX + 1)]
    assert put(bench, *many) == [QUEUED] * UNDECIDED_MAX + [QUEUE_FULL]
    assert put(bench, *(request(number) for number in range(2, 6))) == [QUEUED] * 3 + [QUEUE_FULL]
    assert put(bench, many[0], request(2)) == [QUEUED] * 2, "who waits already may say so again"
    consumer = bench.consumer("c")
    settle(consumer, take(consumer).waiting, SOLD_OUT)
    assert put(bench, many[-1], request(5)) == [QUEUED] * 2


def test_an_entry_that_cannot_be_read_is_dropped_and_hurts_no_other(house: House) -> None:
    bench, client = house()
    put(bench, request(1))
    stream = "headgate:1:{campaign:7}:queue"
    client.xadd(stream, {"from": "another version"})
    client.xadd(stream, {"person": b"p", "mark": b"m", "pool": b"1", "key": b"k", "body": b"b"})
    put(bench, request(2))
    consumer = bench.consumer("c")
    taken = take(consumer)
    assert persons(taken) == [1, 2]
    assert taken.length == 2
    # Deleted by hand after it was taken.
    client.xdel(stream, taken.waiting[0].place)
    assert persons(take(consumer, Which.OWN)) == [2]
    assert state(bench, 1) == NOTHING


def test_nothing_is_kept_for_ever(house: House) -> None:
    bench, client = house()
    put(bench, request(1), request(2))
    consumer = bench.consumer("c")
    settle(consumer, take(consumer).waiting[:1], SOLD_OUT)
    stream, told, waits = (
        client.pttl(f"headgate:1:{{campaign:7}}:{name}")
        for name in ("queue", f"waiting:{person(1).hex()}", f"waiting:{person(2).hex()}")
    )
    assert 0 < told <= REFUSAL_KEPT_MS < waits <= stream <= 86_400_000


def test_ledgers_that_share_a_server_do_not_see_each_other(house: House) -> None:
    (first, _), (second, _) = house(), house(ledger=2)
    put(first, request(1))
    assert state(second, 1) == NOTHING
    assert take(second.consumer("c")).length == 0


def test_a_ledger_that_cannot_be_asked_takes_nothing_and_is_asked_again(
    gate: GateAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.storage.redis.lanes.AWAY_S", 0.0)
    answers: list[int | LedgerUnavailable] = [LedgerUnavailable("away"), 3]

    def which() -> int:
        answer = answers.pop(0)
        if isinstance(answer, LedgerUnavailable):
            raise answer
        return answer

    bench = RedisBench(gate, monkeypatch, which=which)
    assert put(bench, request(1)) == [QUEUE_UNAVAILABLE]
    assert put(bench, request(1)) == [QUEUED]
    assert state(bench, 1) == PENDING
    bench.close()


def test_a_queue_that_is_not_there_takes_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = RedisBench(parse(f"redis://:sekret@127.0.0.1:{free_port()}"), monkeypatch)
    assert put(bench, request(1), request(2)) == [QUEUE_UNAVAILABLE] * 2
    assert put(bench, request(1)) == [QUEUE_UNAVAILABLE], "and nobody waits for it meanwhile"
    assert state(bench, 1) == QueueState(None)
    with pytest.raises(GateAway, match="cannot be used") as found:
        take(bench.consumer("c"))
    assert "sekret" not in str(found.value)
    bench.close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One that a test may kill; whoever is away is asked again at once."""
    monkeypatch.setattr("headgate.storage.redis.lanes.AWAY_S", 0.05)
    with valkey(tmp_path) as started:
        yield started


@pytest.fixture
def alone(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisBench]:
    made = RedisBench(parse(server.url), monkeypatch)
    yield made
    made.close()


def put_until_it_waits(bench: RedisBench, number: int) -> None:
    deadline = time.monotonic() + BACK_S
    while put(bench, request(number)) != [QUEUED]:
        assert time.monotonic() < deadline, "the queue is back, and nobody can wait there"


def test_a_request_whose_answer_did_not_come_is_in_doubt_and_waits_once(server: Server, alone: RedisBench) -> None:
    put(alone, request(1))
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with structlog.testing.capture_logs() as logs:
            assert put(alone, request(2)) == [UNKNOWN]
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert [log["event"] for log in logs] == ["not_queued"]
    put_until_it_waits(alone, 2)
    assert persons(take(alone.consumer("c"))) == [1, 2]


@pytest.mark.parametrize(("when", "there"), [("before", [1]), ("after", [1, 2])])
def test_a_request_that_was_cut_off_is_in_doubt_and_not_sent_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, when: str, there: list[int]
) -> None:
    cut = Cut(("127.0.0.1", int(server.url.rpartition(":")[2])), at=re.compile(rb"EVAL"))
    bench = RedisBench(parse(f"redis://127.0.0.1:{cut.port}"), monkeypatch)
    # The script is there from now on, so that the next call is one message.
    assert put(bench, request(1)) == [QUEUED]
    cut.when = when
    assert put(bench, request(2)) == [UNKNOWN]
    put_until_it_waits(bench, 3)
    assert persons(take(bench.consumer("c"))) == [*there, 3]
    put_until_it_waits(bench, 2)
    bench.close()
    cut.close()


def test_a_server_that_died_took_nothing_and_comes_back_empty(server: Server, alone: RedisBench) -> None:
    put(alone, request(1))
    assert state(alone, 1) == PENDING
    consumer = alone.consumer("c")
    taken = take(consumer).waiting
    server.kill()
    # Of a call whose connection breaks nobody knows; the next one is not sent.
    assert put(alone, request(2))[0] in (UNKNOWN, QUEUE_UNAVAILABLE)
    assert put(alone, request(2)) == [QUEUE_UNAVAILABLE]
    assert state(alone, 1) == QueueState(None)
    with pytest.raises(GateAway):
        settle(consumer, taken, SOLD_OUT)
    server.again()
    put_until_it_waits(alone, 2)
    assert state(alone, 1) == NOTHING
    settle(consumer, taken, SOLD_OUT)
    assert persons(take(consumer)) == [2]


def test_a_server_that_takes_no_writes_or_has_no_room_says_so_and_took_nothing(
    server: Server, alone: RedisBench
) -> None:
    put(alone, request(1))
    client: Any = redis.Redis.from_url(server.url)
    client.config_set("maxmemory", 1)
    assert put(alone, request(2)) == [QUEUE_UNAVAILABLE]
    client.config_set("maxmemory", 0)
    put_until_it_waits(alone, 3)
    client.replicaof("127.0.0.1", free_port())
    assert put(alone, request(4)) == [QUEUE_UNAVAILABLE]
    client.replicaof("NO", "ONE")
    put_until_it_waits(alone, 5)
    assert persons(take(alone.consumer("c"))) == [1, 3, 5]
    client.close()


def test_a_user_who_may_do_what_the_documentation_asks_for_may_do_all_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = redis.Redis.from_url(server.url)
    rights = re.findall(r"\+@?\w+", inspect.getsource(examination.examine))
    assert rights == ["+@read", "+@write", "+@scripting", "+info"]
    client.execute_command("ACL", "SETUSER", "headgate", "on", ">sekret", "resetkeys", "~headgate:*", *rights)
    client.close()
    address = parse(server.url.replace("://", "://headgate:sekret@"))
    assert "median" in examination.examine(address)
    bench = RedisBench(address, monkeypatch)
    assert put(bench, request(1), request(2)) == [QUEUED] * 2
    consumer = bench.consumer("c")
    taken = take(consumer)
    assert 0 <= taken.age_s < 60
    bench.time_passes()
    settle(consumer, take(consumer, Which.ABANDONED).waiting, SOLD_OUT)
    assert state(bench, 1).outcome == "sold_out"
    limiter = RedisLimiter(bench.loop, address, b"k" * 32, lambda _: pytest.fail("nobody was counted"))

    async def counted() -> float:
        wait = limiter.wait_s(ADDRESSES, (Limit("192.0.2.1", 3),))
        return await wait if isinstance(wait, Pending) else wait

    assert bench.loop.run_until_complete(counted()) == 0
    bench.loop.run_until_complete(limiter.close())
    gate = RedisGate(address, lambda: 1)
    assert gate.follow(7, -1, 5, [person(1)])
    assert gate.seen(7, [person(1)]) == (5, [True])
    gate.erase(7)
    gate.close()
    bench.close()


def test_a_primary_of_a_cluster_dies_and_its_replica_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.storage.redis.lanes.AWAY_S", 0.05)
    with valkey_cluster(tmp_path) as cluster:
        bench = RedisBench(parse(cluster.url), monkeypatch)
        consumer = bench.consumer("c")
        assert put(bench, request(1), request(2)) == [QUEUED] * 2
        taken = take(consumer, limit=1).waiting
        client: Any = connect(parse(cluster.url))
        owner = client.get_node_from_key("headgate:1:{campaign:7}:queue")
        # What a replica has not got is lost with its primary, and that is another test.
        client.execute_command("WAIT", 1, 5_000, target_nodes=owner)
        client.close()
        next(server for server in cluster.primaries if server.url.endswith(f":{owner.port}")).kill()
        put_until_it_waits(bench, 3)
        assert [state(bench, number) for number in (1, 2, 3)] == [PENDING] * 3
        deadline = time.monotonic() + BACK_S
        while True:
            try:
                settle(consumer, taken, SOLD_OUT)
                break
            except GateAway:
                assert time.monotonic() < deadline
        assert state(bench, 1).outcome == "sold_out"
        assert persons(take(consumer, Which.OWN)) == []
        assert persons(take(consumer)) == [2, 3]
        bench.close()
