"""When a replica is read from and when it is left alone, with time in the hands of the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import sqlalchemy as sa

from headgate.ports.replicas import ReplicaAway
from headgate.storage.sql import replicas as under_test
from headgate.storage.sql.replicas import BACKOFF_MAX_S, BACKOFF_MIN_S, CHECK_S, START_S, VALID_S, Replicas


class Engine:
    """Fails while `error` is set; counts how often it is asked."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.error: Exception | None = None
        self.takes_s = 0.0
        self.asked = 0
        self.disposed = 0

    @contextmanager
    def begin(self) -> Iterator[None]:
        self.asked += 1
        self._house.now_s += self.takes_s
        if self.error is not None:
            raise self.error
        yield

    def dispose(self) -> None:
        self.disposed += 1


class House:
    """Replicas `r1` and `r2`, looked at when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        self.engines: list[Engine] = []
        self.said: list[tuple[int, str | None]] = []
        self.luck = 256
        self.calls: list[str] = []
        monkeypatch.setattr(under_test, "open_replica", self._open)
        monkeypatch.setattr("headgate.storage.sql.replicas.secrets.randbelow", lambda _below: self.luck)
        monkeypatch.setattr("headgate.storage.sql.replicas.os.getpid", lambda: 2)
        self.primary_error: Exception | None = None
        self.replicas = Replicas(
            "primary", cast("Any", None), cast("Any", None), lambda *change: self.said.append(change), self.timer
        )
        for number in (1, 2):
            self.replicas.add(cast("Any", None), 1.0, lambda _engine, number=number: f"r{number}")  # type: ignore[misc]  # a default in a lambda

    def _open(self, *_arguments: Any) -> Engine:
        self.engines.append(Engine(self))
        return self.engines[-1]

    def timer(self) -> float:
        return self.now_s

    def ask_primary(self) -> None:
        if self.primary_error is not None:
            raise self.primary_error

    def check(self, number: int) -> float:
        return self.replicas._replicas[number - 1].check(self.ask_primary)

    def read(self, *failing: str, error: Exception | None = None) -> str:
        """Who answered a read that fails at those named."""

        def call(where: str) -> str:
            self.calls.append(where)
            if where in failing:
                raise error or ReplicaAway("cut off")
            return where

        return self.replicas.read(call)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch)


def test_nobody_waits_for_a_replica_that_was_not_looked_at_yet(house: House) -> None:
    assert house.read() == "primary"
    assert [engine.asked for engine in house.engines] == [0, 0]
    assert house.replicas.in_use() == {1: False, 2: False}


def test_one_replica_is_read_from_while_it_is_good_and_then_the_other(house: House) -> None:
    assert (house.check(1), house.check(2)) == (CHECK_S, CHECK_S)
    assert [house.read() for _ in range(3)] == ["r1"] * 3
    assert house.read("r1") == "primary", "the same read does not wait for a second replica"
    assert house.calls[-2:] == ["r1", "primary"]
    assert [house.read() for _ in range(3)] == ["r2"] * 3
    assert house.replicas.in_use() == {1: False, 2: True}
    assert house.engines[0].disposed == 1, "its other connections would fail one by one"


def test_processes_begin_with_different_replicas(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.storage.sql.replicas.os.getpid", lambda: 3)
    house.check(1), house.check(2)
    assert house.read() == "r2"


def test_a_replica_whose_check_hangs_is_read_from_no_longer(house: House) -> None:
    house.check(1)
    house.now_s += VALID_S - 0.1
    assert house.read() == "r1"
    house.now_s += 0.1
    assert house.read() == "primary"
    assert house.replicas.in_use() == {1: False, 2: False}
    assert house.engines[0].asked == 1
    # It was slow, and is counted from when it was asked.
    house.engines[0].takes_s = VALID_S
    house.check(1)
    assert house.read() == "primary"
    house.engines[0].takes_s = 0.0
    house.check(1)
    assert house.read() == "r1"


def test_a_replica_that_is_away_is_asked_less_and_less_and_never_by_readers(house: House) -> None:
    house.check(1)
    house.engines[0].error = OSError("connection refused")
    house.now_s += BACKOFF_MAX_S + 0.1
    waits = []
    for _ in range(8):
        waits.append(house.check(1))
        assert [house.read() for _ in range(20)] == ["primary"] * 20
        house.now_s += waits[-1]
    # With chance in the middle: three quarters of what doubles.
    assert waits == [0.75 * min(BACKOFF_MIN_S * 2**n, BACKOFF_MAX_S) for n in range(8)]
    assert house.engines[0].asked == 9
    assert house.said == [(1, None), (1, "connection refused")], "once for each change, not for each try"
    house.engines[0].error = None
    house.check(1)
    assert house.read() == "r1"
    assert house.said[2:] == [(1, None)]


@pytest.mark.parametrize(("luck", "share"), [(0, 0.5), (511, 1.0)])
def test_programs_do_not_come_back_together(house: House, luck: int, share: float) -> None:
    house.luck = luck
    house.engines[0].error = OSError("refused")
    assert house.check(1) == pytest.approx(BACKOFF_MIN_S * share, abs=0.001)


def test_a_replica_is_not_asked_before_its_time(house: House) -> None:
    house.engines[0].error = OSError("refused")
    wait_s = house.check(1)
    house.now_s += wait_s / 2
    assert house.check(1) == pytest.approx(wait_s / 2)
    assert house.engines[0].asked == 1


def test_a_replica_that_goes_to_and_fro_is_left_alone_longer_each_time(house: House) -> None:
    away = []
    for _ in range(6):
        house.check(1)
        assert house.read("r1") == "primary"
        began_s = house.now_s
        while not house.replicas.in_use()[1]:
            house.now_s += 0.05
            house.check(1)
        away.append(round(house.now_s - began_s, 1))
    assert away == sorted(away)
    assert away[-1] >= 0.7 * BACKOFF_MAX_S
    house.now_s += BACKOFF_MAX_S + 0.1
    house.check(1)
    house.read("r1")
    house.now_s += BACKOFF_MIN_S
    house.check(1)
    assert house.read() == "r1", "one that was good for long comes back soon"


def test_a_failure_that_a_reader_sees_counts_although_the_check_passes(house: House) -> None:
    house.check(1)
    house.read("r1")
    house.check(1)
    assert house.read() == "primary"


@pytest.mark.parametrize("error", [LookupError("not there yet"), sa.exc.TimeoutError("all taken")])
def test_what_a_replica_does_not_know_is_asked_at_the_primary(house: House, error: Exception) -> None:
    house.check(1)
    assert house.read("r1", error=error) == "primary"
    assert house.read() == "r1"


def test_a_fault_of_the_caller_is_not_hidden(house: House) -> None:
    house.check(1)
    with pytest.raises(ZeroDivisionError):
        house.read("r1", error=ZeroDivisionError())
    with pytest.raises(ReplicaAway):
        house.read("r1", "primary")


def test_where_the_primary_cannot_be_asked_no_replica_is_good(house: House) -> None:
    house.check(1)
    house.primary_error = ReplicaAway("the ledger cannot be reached")
    house.now_s += CHECK_S
    house.check(1)
    assert house.read() == "primary"
    assert house.said[-1] == (1, "the ledger cannot be reached")
    assert house.engines[0].asked == 1


def test_at_the_start_nothing_is_said_before_a_keeper_had_time_to_begin(house: House) -> None:
    for engine in house.engines:
        engine.error = ReplicaAway("no keeper")
    began_s = house.now_s
    while house.now_s < began_s + START_S:
        house.now_s += max(house.check(1), house.check(2))
    assert house.said == []
    house.engines[0].error = None
    for _ in range(3):
        house.now_s += max(house.check(1), house.check(2))
    assert house.said == [(1, None), (2, "no keeper")]
