"""Limits on a shared gate that fails: open and counted, never counted twice, and back by themselves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import structlog.testing

from headgate.ports.limiter import ADDRESSES, WINDOW_S, Limit
from headgate.ports.pending import Pending
from headgate.storage.redis.address import GateAddress, parse
from headgate.storage.redis.client import connect
from headgate.storage.redis.limiter import CounterKeys, RedisCounts, RedisLimiter
from tests.servers import Server, free_port, valkey, valkey_cluster
from tests.storage.test_servers import Cut

KEY = b"k" * 32
BACK_S = 20.0


class Node:
    def __init__(self, address: GateAddress) -> None:
        self.uncounted: list[int] = []
        self.loop = asyncio.new_event_loop()
        self._limiter = RedisLimiter(self.loop, address, KEY, self.uncounted.append)

    def ask(self, limit: int = 3, address: str = "192.0.2.1") -> float:
        async def asked() -> float:
            wait = self._limiter.wait_s(ADDRESSES, (Limit(address, limit),))
            return await wait if isinstance(wait, Pending) else wait

        return self.loop.run_until_complete(asked())

    def ask_until_counted(self) -> None:
        deadline = time.monotonic() + BACK_S
        while True:
            before = len(self.uncounted)
            self.ask(limit=1_000_000, address="192.0.2.99")
            if len(self.uncounted) == before:
                return
            assert time.monotonic() < deadline, "the gate is back, and nobody is counted"

    def close(self) -> None:
        self.loop.run_until_complete(self._limiter.close())
        self.loop.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with valkey(tmp_path) as started:
        yield started


@pytest.fixture
def node(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr("headgate.storage.redis.lanes.AWAY_S", 0.05)
    made = Node(parse(server.url))
    yield made
    made.close()


def counts(server: Server) -> list[int]:
    client = redis.Redis.from_url(server.url)
    found = [int(client.get(key) or 0) for key in client.keys("*")]
    client.close()
    return found


@pytest.mark.parametrize("gate", ["valkey", "cluster"])
def test_a_doorkeeper_counts_on_where_the_others_have_counted(gate: str, gate_of: Callable[[str], GateAddress]) -> None:
    address = gate_of(gate)
    counters, doorkeeper = CounterKeys(address, KEY), RedisCounts(address)
    names = [f"192.0.2.{number}" for number in range(40)]
    node = Node(address)
    assert [node.ask(3, name) for name in names] == [0] * len(names)
    keys = [counters.of_address(name) for name in names]
    assert doorkeeper.count([*keys, keys[0]], 3) == [0] * (len(names) + 1)
    waits_ms = doorkeeper.count(keys, 3)
    assert 0 < waits_ms[0] <= WINDOW_S * 1000
    assert waits_ms[1:] == [0] * (len(names) - 1)
    assert node.ask(3, names[0]) > 0
    assert all(node.ask(3, name) > 0 for name in names)
    node.close()
    doorkeeper.close()


def test_a_call_that_was_not_answered_in_time_is_let_through_and_counts_once(server: Server, node: Node) -> None:
    assert node.ask() == 0
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with structlog.testing.capture_logs() as logs:
            assert node.ask() == 0
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert node.uncounted == [1]
    assert [log["event"] for log in logs] == ["limits_not_counted"]
    # It does the frozen call now, and it has got it once.
    deadline = time.monotonic() + BACK_S
    while counts(server) != [2]:
        assert time.monotonic() < deadline, counts(server)


def test_a_call_whose_answer_was_lost_is_not_sent_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.storage.redis.lanes.AWAY_S", 0.05)
    cut = Cut(("127.0.0.1", int(server.url.rpartition(":")[2])), at=re.compile(rb"EVAL"))
    node = Node(parse(f"redis://127.0.0.1:{cut.port}"))
    # The script is there from now on, so that the next call is one message.
    node.ask_until_counted()
    cut.when = "after"
    assert node.ask() == 0
    assert node.uncounted == [1], "the connection was cut"
    node.ask_until_counted()
    assert sorted(counts(server)) == [1, 2], "one for the lost answer, two for those that came"
    node.close()
    cut.close()


def test_while_it_is_away_nobody_waits_and_everybody_is_let_through(server: Server, node: Node) -> None:
    server.kill()
    with structlog.testing.capture_logs() as logs:
        assert [node.ask(limit=1) for _ in range(200)] == [0.0] * 200
    assert sum(node.uncounted) == 200
    assert len(logs) == 1, "said once, not for every request"


def test_after_its_restart_it_counts_from_the_beginning(server: Server, node: Node) -> None:
    assert [node.ask() > 0 for _ in range(4)] == [False, False, False, True]
    server.kill()
    assert node.ask() == 0
    server.again()
    node.ask_until_counted()
    assert [node.ask() > 0 for _ in range(4)] == [False, False, False, True]


def test_scripts_that_were_lost_are_sent_again_and_nothing_counts_twice(server: Server, node: Node) -> None:
    assert node.ask() == 0
    client = redis.Redis.from_url(server.url)
    client.script_flush()
    client.close()
    assert [node.ask() > 0 for _ in range(3)] == [False, False, True]
    assert node.uncounted == []


def test_a_gate_that_was_never_there_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(parse(f"redis://127.0.0.1:{free_port()}"))
    assert [node.ask(limit=1) for _ in range(3)] == [0.0] * 3
    assert sum(node.uncounted) == 3
    node.close()


def test_a_primary_of_a_cluster_dies_and_its_replica_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.storage.redis.lanes.AWAY_S", 0.05)
    with valkey_cluster(tmp_path) as cluster:
        node = Node(parse(cluster.url))
        assert all(node.ask(address=f"192.0.2.{number}") == 0 for number in range(20))
        client = connect(parse(cluster.url))
        owner = client.get_node_from_key("headgate:limits:{addresses:0}:x")  # type: ignore[union-attr]
        client.close()
        next(server for server in cluster.primaries if server.url.endswith(f":{owner.port}")).kill()
        # Of every lane, so also of the one whose server died.
        addresses = [f"192.0.2.{number}" for number in range(20)]
        deadline = time.monotonic() + BACK_S
        while True:
            before = len(node.uncounted)
            for address in addresses:
                node.ask(limit=1_000_000, address=address)
            if len(node.uncounted) == before:
                break
            assert time.monotonic() < deadline
        node.close()
