"""The keeper's duty towards those who are told of events: threads that work while it holds the lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headgate.domain.event import BEGINNING, Event, Position
from headgate.keeper.duties import LEASE_TTL_MS
from headgate.ports.ledger import LedgerBroken, LedgerUnavailable
from headgate.services import relaying, relays
from headgate.services.relaying import Relay, Tenure
from headgate.services.relays import KEPT_MS, PRUNED_MAX, Relays
from headgate.storage.sql.engine import open_engine
from headgate.storage.sql.outbox import SqlOutbox
from tests.fakes import SeededEntropy, no_news
from tests.keeper import house as keeping

PATIENCE_S = 20.0


class Destination:
    """Takes what it gets, or does not come back from it until the test lets go."""

    page = 10

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[Event] = []
        self.closed = False
        self.arrived = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error: Exception | None = None

    def place(self) -> None: ...

    def deliver(self, after: Position, events: Sequence[Event]) -> bool:
        self.arrived.set()
        assert self.goes_on.wait(PATIENCE_S)
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.got += events
        return True

    def close(self) -> None:
        self.closed = True


class House(keeping.House):
    """With relays that look for more a hundred times a second."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.outbox = SqlOutbox(self.engine)
        self.place = directory / "ledger.db"
        self.threads: list[Relays] = []

    def relays(self, *destinations: Destination, clock_s: Callable[[], float] | None = None) -> Relays:
        # A lease ends when the test says so: a machine that stands still for five seconds ends none.
        tenure = Tenure(clock_s or (lambda: self.clock.ms / 1000))
        made = [
            Relay(SqlOutbox(open_engine(self.place)), destination, tenure, SeededEntropy())
            for destination in destinations
        ]
        self.threads.append(Relays(self.outbox, made, tenure, self.clock))
        for destination in destinations:
            self.outbox.begin(destination.name)
        return self.threads[-1]

    def close(self) -> None:
        for running in self.threads:
            running.stop()
        super().close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(relaying, "IDLE_S", 0.01)
    monkeypatch.setattr(relaying, "RETRY_MIN_S", 0.01)
    monkeypatch.setattr(relaying, "RETRY_MAX_S", 0.02)
    monkeypatch.setattr(relays, "RETRY_MAX_S", 0.02)
    built = House(tmp_path)
    built.create(pools=30)
    yield built
    built.close()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_one_that_does_not_answer_keeps_neither_the_others_nor_the_keeper_waiting(house: House) -> None:
    slow, quick = Destination("webhook:slow"), Destination("webhook:quick")
    slow.goes_on.clear()
    running = house.relays(slow, quick)
    keeper = house.keeper(relays=running)
    running.start()
    keeper.turn()
    for number in range(1, 6):
        house.sell(number)
        until(lambda number=number: len(quick.got) == number)  # type: ignore[misc]
        house.clock.forward(1.0)
        assert keeper.turn()
        assert house.state()["pools"][number - 1]["state"] == "sold_out"
    assert slow.arrived.is_set()
    assert slow.got == []
    slow.goes_on.set()
    until(lambda: slow.got == quick.got)


def test_only_the_holder_of_the_lease_relays_and_the_next_one_goes_on(house: House) -> None:
    mine, others = Destination("webhook:shop"), Destination("webhook:shop")
    first, second = house.relays(mine), house.relays(others)
    one, two = house.keeper("one", relays=first), house.keeper("two", relays=second)
    one.turn()
    assert not two.turn()
    first.start()
    second.start()
    house.sell(1)
    until(lambda: len(mine.got) == 1)
    house.clock.ms += LEASE_TTL_MS
    assert two.turn()
    assert not one.turn()
    house.sell(2)
    until(lambda: len(others.got) == 1)
    one.stop()
    assert [len(mine.got), len(others.got)] == [1, 1]
    assert mine.closed


def test_a_keeper_that_does_not_come_to_its_turn_any_more_stops_relaying_by_itself(house: House) -> None:
    now = [100.0]
    destination = Destination("webhook:shop")
    running = house.relays(destination, clock_s=lambda: now[0])
    house.keeper(relays=running).turn()
    running.start()
    house.sell(1)
    until(lambda: len(destination.got) == 1)
    now[0] += LEASE_TTL_MS / 1000
    house.sell(2)
    # Nobody can be seen doing nothing: another one that has the lease is told, and this one still is not.
    other = Destination("webhook:other")
    second = house.relays(other)
    house.clock.ms += LEASE_TTL_MS
    house.keeper("two", relays=second).turn()
    second.start()
    house.sell(3)
    until(lambda: len(other.got) == 1)
    assert len(destination.got) == 1


def test_what_is_old_is_forgotten_and_who_loses_by_it_is_said_once(house: House) -> None:
    away, removed = Destination("webhook:away"), "webhook:removed"
    running = house.relays(away)
    house.outbox.begin(removed)
    keeper = house.keeper(relays=running)
    house.sell(1)
    house.clock.ms += 5
    house.sell(2)
    house.clock.ms += KEPT_MS - 5
    with capture_logs([no_news]) as logs:
        keeper.turn()
        assert logs == [], "it is not older than a week"
        house.clock.ms += 1
        keeper.turn()
        assert len(house.outbox.events(BEGINNING, 10)) == 1
        house.clock.ms += 5
        keeper.turn()
        keeper.turn()
    assert [(log["event"], log["destination"]) for log in logs] == [("events_lost", "webhook:away")]
    assert house.outbox.events(BEGINNING, 10) == []


def test_a_turn_forgets_a_bounded_number_of_rows(house: House) -> None:
    with house.engine.execution_options(immediate=True).begin() as connection:
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO outbox (at, kind, first_seq, last_seq) SELECT 0, 'claim.confirmed', 1, 1 FROM n",
            (PRUNED_MAX + 5,),
        )
    keeper = house.keeper(relays=house.relays())
    keeper.turn()
    with house.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one() == 5


def test_storage_that_a_relay_finds_broken_ends_the_keeper(house: House) -> None:
    destination = Destination("webhook:shop")
    destination.error = LedgerBroken("a sync has failed")
    running = house.relays(destination)
    keeper = house.keeper(relays=running)
    keeper.turn()
    running.start()
    house.sell(1)

    def turn_by_turn() -> bool:
        try:
            return not keeper.turn()
        except LedgerBroken:
            return True

    until(turn_by_turn)
    assert not destination.closed, "it wrote how far it came"


def test_a_mistake_of_ours_is_logged_and_tried_again(house: House) -> None:
    destination = Destination("webhook:shop")
    destination.error = KeyError("a mistake")
    running = house.relays(destination)
    house.keeper(relays=running).turn()
    house.sell(1)
    with capture_logs([no_news]) as logs:
        running.start()
        until(lambda: len(destination.got) == 1)
    assert [log["event"] for log in logs] == ["relay_failed"]


def test_an_outbox_that_cannot_be_pruned_is_a_turn_that_failed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise LedgerUnavailable("busy")

    keeper = house.keeper(relays=house.relays())
    with monkeypatch.context() as patched, capture_logs([no_news]) as logs:
        patched.setattr(house.outbox, "prune", fails)
        for _ in range(3):
            keeper.turn()
    assert [log["event"] for log in logs] == ["keeper_turn_failed"]
    assert house.state()["phase"] == "open"


def test_the_end_waits_for_what_is_being_delivered_but_not_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "STOP_S", 0.2)
    stuck, fine = Destination("webhook:stuck"), Destination("webhook:fine")
    stuck.goes_on.clear()
    running = house.relays(stuck, fine)
    keeper = house.keeper(relays=running)
    keeper.turn()
    running.start()
    house.sell(1)
    until(lambda: stuck.arrived.is_set() and fine.got)
    began = time.monotonic()
    keeper.stop()
    assert time.monotonic() - began < PATIENCE_S / 2
    assert (fine.closed, stuck.closed) == (True, False)
    stuck.goes_on.set()
    assert house.leases.acquire("keeper", "next", LEASE_TTL_MS) is not None, "the lease was not given back"
