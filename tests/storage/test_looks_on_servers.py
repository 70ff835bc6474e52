"""Workers that share their looks on a real PostgreSQL and a real Valkey, which dies, freezes and is flushed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headgate.services import shared_looks
from headgate.services.book import CampaignBook, Ledgers, Refresher
from headgate.services.primary_alone import PrimaryAlone
from headgate.services.shared_looks import SharedSources
from headgate.services.stock import StockBoard
from headgate.storage.memory.gate import MemoryGate
from headgate.storage.redis.address import GateAddress, parse
from headgate.storage.redis.client import connect
from headgate.storage.redis.looks import FRESH_S, TURN_S, RedisLooks
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import open_engine
from headgate.storage.sql.server_claims import ServerClaims
from tests.fakes import SeededEntropy
from tests.replication import frozen
from tests.servers import valkey
from tests.storage.house import House

WORKERS = 8
KNOWN_WITHIN_S = 4.0
"""Each of two workers waits for an answer of the store once, for half a second."""


class Worker:
    """As a process of its own would do it: its own connections, its own book."""

    def __init__(self, house: House, place: sa.URL, address: GateAddress, number: int) -> None:
        self.engine = open_engine(place)
        self.statements: Counter[str] = Counter()
        sa.event.listen(self.engine, "before_cursor_execute", self._count)
        self._claims = ServerClaims(self.engine, None, SeededEntropy())
        looks = RedisLooks(address, lambda: 1, SeededEntropy(number), "1")
        ledgers = Ledgers(SqlCampaigns(self.engine, house.clock), self._claims)
        self.sources = SharedSources(PrimaryAlone(ledgers), looks, time.monotonic, time.sleep)
        self._refresher = Refresher(self.sources, house.clock, exclusive=False)
        self.board = StockBoard()
        self.book = CampaignBook(self.board, MemoryGate(self.board, exclusive=False))

    def _count(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "pool.remaining" in statement and "pool.label" not in statement:
            self.statements["stock"] += 1

    def look(self) -> None:
        self.book.take_all(self._refresher.look())

    def close(self) -> None:
        self.sources.close()
        self._claims.close()


@pytest.fixture
def place(place_on: Callable[[str], Path | sa.URL]) -> sa.URL:
    found = place_on("postgresql")
    assert isinstance(found, sa.URL)
    return found


@pytest.fixture
def house(place: sa.URL) -> Iterator[House]:
    built = House(place)
    yield built
    built.close()


Hire = Callable[[GateAddress, int], list[Worker]]


@pytest.fixture
def hire(house: House, place: sa.URL) -> Iterator[Hire]:
    hired: list[Worker] = []

    def workers(address: GateAddress, count: int) -> list[Worker]:
        hired.extend(Worker(house, place, address, number) for number in range(count))
        return hired

    yield workers
    for worker in hired:
        worker.close()


def all_know(workers: Sequence[Worker], house: House, version: int) -> None:
    campaign_id = house.request(1).campaign_id
    deadline = time.monotonic() + KNOWN_WITHIN_S
    while any(worker.board.version(campaign_id) != version for worker in workers):
        assert time.monotonic() < deadline
        for worker in workers:
            worker.look()


def test_workers_of_many_nodes_that_begin_together_read_the_ledger_once(
    house: House, hire: Hire, gate: GateAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy this machine is, nobody gives up waiting.
    monkeypatch.setattr(shared_looks, "ASKS_MAX", 1_000)
    workers = hire(gate, WORKERS)
    together = threading.Barrier(WORKERS)

    def begin(worker: Worker) -> None:
        together.wait(30)
        worker.look()

    began_s = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as threads:
        list(threads.map(begin, workers))
    # Whoever comes so late that the first look is not fresh any more makes another.
    looks = 1 + int((time.monotonic() - began_s) / FRESH_S)
    assert 1 <= sum(worker.statements["stock"] for worker in workers) <= looks
    assert sum(worker.sources.own for worker in workers) <= looks
    assert all(worker.book.get("masks") is not None for worker in workers)
    house.ask(house.request(1))
    all_know(workers, house, 3)


def test_whatever_becomes_of_the_store_workers_learn_what_changed(
    house: House, hire: Hire, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with valkey(tmp_path_factory.mktemp("store")) as server:
        address = parse(server.url)
        workers = hire(address, 2)
        all_know(workers, house, 2)
        client = connect(address)
        client.flushall()
        house.ask(house.request(1))
        all_know(workers, house, 3)
        with frozen(server):
            house.ask(house.request(2))
            all_know(workers, house, 4)
        server.kill()
        house.ask(house.request(3, "b"))
        all_know(workers, house, 5)
        server.again()
        house.ask(house.request(4, "b"))
        all_know(workers, house, 6)
        client.close()


def test_the_turn_of_one_that_was_killed_passes_on(hire: Hire, gate: GateAddress) -> None:
    killed = RedisLooks(gate, lambda: 1, SeededEntropy(99), "1")
    assert killed.ask().turn
    workers = hire(gate, 2)
    workers[0].look()
    assert (workers[0].sources.own, workers[0].book.get("masks") is not None) == (1, True)
    client: Any = connect(gate)
    (turn,) = client.scan_iter("headgate:*:turn")
    assert 0 < client.pttl(turn) <= TURN_S * 1000
    # As if that time had passed.
    client.delete(turn)
    client.close()
    workers[1].look()
    workers[0].look()
    assert (workers[1].sources.own, workers[0].sources.shared) == (1, 1)
    killed.close()
