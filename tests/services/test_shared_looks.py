"""Workers that share their looks miss nothing, forget nothing, and ask the ledger once for all."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, cast

import pytest

from headgate.domain.campaign import Campaign, Control, Kind, Pool, Verification
from headgate.lab.simulation.looks import FRESH_S, SHOWN_S, SimulatedStore
from headgate.ports.ledger import LedgerUnavailable, PoolStock
from headgate.services.book import CampaignBook, Ledgers, Refresher
from headgate.services.primary_alone import PrimaryAlone
from headgate.services.shared_looks import AWAY_S, SharedSources
from headgate.services.stock import StockBoard
from headgate.storage.memory.gate import MemoryGate
from tests.fakes import HandClock

State = Mapping[int, tuple[int, int]]
"""(version, version of its one pool's stock) of each campaign."""


EVENTS = ("write", "write", "new", "steer", "fail", "flush", "replicate", "fail_over", "away", "evict")


class Ledger:
    """The one that all workers ask; `failing` names the calls that fail, `asked` those that were made."""

    def __init__(self) -> None:
        self.state: dict[int, tuple[int, int]] = {1: (1, 1)}
        self.failing: set[str] = set()
        self.asked: list[str] = []

    def call(self, name: str) -> State:
        self.asked.append(name)
        if name in self.failing:
            raise LedgerUnavailable(name)
        return self.state

    def write(self, campaign_id: int, *, steered: bool = False) -> None:
        version, stock = self.state.get(campaign_id, (0, 0))
        self.state[campaign_id] = (version + (steered or not version), stock + 1)


class Connection:
    """One worker's."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: State | None = None

    def versions(self) -> dict[int, int]:
        return {each: version for each, (version, _) in self._ledger.call("versions").items()}

    def campaign_by_id(self, campaign_id: int) -> Campaign:
        version, _ = self._ledger.call("campaign")[campaign_id]
        return Campaign(
            campaign_id, f"c{campaign_id}", Kind.FIRST_COME, {}, 0, 10_000, 0, 1, False, Verification.NONE,
            Control.ACTIVE, version, (Pool(campaign_id, "p", {}, 1_000),),
        )  # fmt: skip

    def stock_of(self, campaign_id: int) -> list[PoolStock]:
        _, version = self._ledger.call("stock")[campaign_id]
        return [PoolStock(campaign_id, campaign_id, 1_000 - version, version)]

    def persons_of(self, _campaign_id: int) -> list[bytes]:
        return []

    def changed(self) -> bool:
        state = dict(self._ledger.call("changed"))
        before, self._known = self._known, state
        return before != state


class Worker:
    def __init__(self, fleet: Fleet) -> None:
        connection = cast("Any", Connection(fleet.ledger))
        self.sources = SharedSources(
            PrimaryAlone(Ledgers(connection, connection)), fleet.store.looks(), lambda: fleet.now_s, fleet.pass_time
        )
        self._refresher = Refresher(self.sources, HandClock(1_000), exclusive=False)
        self._board = StockBoard()
        self._book = CampaignBook(self._board, MemoryGate(self._board, exclusive=False))

    def look(self) -> None:
        self._book.take_all(self._refresher.look())

    def known(self) -> State:
        return {
            entry.campaign.id: (entry.campaign.version, self._board.version(entry.campaign.id)) for entry in self._book
        }


class Fleet:
    def __init__(self, workers: int) -> None:
        self.now_s = 100.0
        self.ledger = Ledger()
        self.store = SimulatedStore(lambda: self.now_s)
        self.workers = [Worker(self) for _ in range(workers)]

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    def look(self) -> None:
        """Every worker, one after the other."""
        for worker in self.workers:
            worker.look()


def test_a_thousand_workers_that_begin_ask_the_ledger_once() -> None:
    fleet = Fleet(1_000)
    fleet.ledger.write(2)
    fleet.look()
    assert sorted(fleet.ledger.asked) == ["campaign", "campaign", "changed", "stock", "stock", "versions"]
    assert all(worker.known() == fleet.ledger.state for worker in fleet.workers)


def test_while_nothing_changes_one_of_them_asks_whether_anything_has() -> None:
    fleet = Fleet(8)
    fleet.look()
    for _ in range(20):
        fleet.ledger.asked.clear()
        fleet.pass_time(FRESH_S)
        fleet.look()
        assert len(fleet.ledger.asked) == 2
        assert set(fleet.ledger.asked) == {"changed", "versions"}


def test_what_one_found_all_know_and_only_what_changed_is_asked_for() -> None:
    fleet = Fleet(8)
    fleet.look()
    # So that every worker has looked by itself before.
    for worker in fleet.workers:
        fleet.pass_time(FRESH_S)
        worker.look()
    fleet.ledger.write(2)
    fleet.pass_time(FRESH_S)
    fleet.ledger.asked.clear()
    fleet.look()
    assert fleet.ledger.asked.count("campaign") == 1
    assert all(worker.known() == fleet.ledger.state for worker in fleet.workers)


def test_a_look_that_failed_in_the_middle_is_made_whole_by_the_next() -> None:
    fleet = Fleet(2)
    fleet.look()
    fleet.ledger.write(1)
    fleet.ledger.failing = {"stock"}
    fleet.pass_time(FRESH_S)
    with pytest.raises(LedgerUnavailable):
        fleet.workers[0].look()
    fleet.ledger.failing = set()
    # Its turn is over.
    fleet.pass_time(1.0)
    fleet.workers[0].look()
    assert fleet.workers[0].known() == fleet.ledger.state


def test_where_the_one_who_looks_has_died_nobody_waits_for_long() -> None:
    fleet = Fleet(3)
    fleet.look()
    fleet.pass_time(FRESH_S)
    fleet.store.looks().ask()
    fleet.ledger.write(1)
    fleet.look()
    assert {worker.known()[1] for worker in fleet.workers} == {(1, 1)}, "what is shown is fresh enough"
    fleet.pass_time(SHOWN_S)
    began_s = fleet.now_s
    fleet.workers[1].look()
    assert fleet.workers[1].known() == fleet.ledger.state
    assert fleet.now_s - began_s <= 0.51


def test_without_the_store_each_looks_for_itself_and_leaves_it_alone_for_a_second() -> None:
    fleet = Fleet(3)
    fleet.look()
    fleet.store.away = True
    fleet.ledger.write(1)
    fleet.look()
    assert all(worker.known() == fleet.ledger.state for worker in fleet.workers)
    fleet.store.away = False
    fleet.ledger.asked.clear()
    fleet.look()
    assert fleet.ledger.asked.count("versions") == 3
    fleet.pass_time(AWAY_S)
    fleet.ledger.asked.clear()
    fleet.look()
    assert fleet.ledger.asked.count("versions") == 1


def test_a_part_that_was_evicted_comes_back() -> None:
    fleet = Fleet(1)
    fleet.look()
    del fleet.store.contents.stock[1]
    late = Worker(fleet)
    late.look()
    assert late.known() == fleet.ledger.state
    assert late.sources.shared == 0
    later = Worker(fleet)
    fleet.workers[0].look()
    later.look()
    assert (later.sources.shared, later.known()) == (1, fleet.ledger.state)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_to_the_store_nothing_goes_back_and_everything_is_known_in_the_end(seed: int) -> None:
    rng, fleet = random.Random(seed), Fleet(4)
    for _ in range(300):
        match event := rng.choice(EVENTS):
            case "write":
                fleet.ledger.write(rng.choice(list(fleet.ledger.state)))
            case "steer":
                fleet.ledger.write(rng.choice(list(fleet.ledger.state)), steered=True)
            case "new":
                fleet.ledger.write(len(fleet.ledger.state) + 1)
            case "fail":
                fleet.ledger.failing = {rng.choice(["versions", "campaign", "changed", "stock"])}
            case "away":
                fleet.store.away = True
            case "evict":
                fleet.store.contents.stock.clear()
            case _:
                getattr(fleet.store, event)()
        for worker in fleet.workers:
            fleet.pass_time(rng.uniform(0, 0.3))
            before = worker.known()
            if rng.random() < 0.8:
                try:
                    worker.look()
                except LedgerUnavailable:
                    continue
            after = worker.known()
            assert all(after[each][part] >= versions[part] for each, versions in before.items() for part in (0, 1))
        fleet.ledger.failing, fleet.store.away = set(), False
    fleet.pass_time(max(AWAY_S, 2.0))
    for _ in range(2):
        fleet.pass_time(SHOWN_S)
        fleet.look()
    assert all(worker.known() == fleet.ledger.state for worker in fleet.workers)
