"""Strangers are turned away only where it is certain that they hold nothing, and get nothing whatever they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog.testing

from headgate.domain.campaign import Control
from headgate.lab.simulation.shared_gate import SimulatedGate
from headgate.ports.gate import GateAway
from headgate.ports.ledger import LedgerDamaged, LedgerUnavailable
from headgate.ports.strangers import LET_IN, TURNED_AWAY, UNANSWERED, UNCOUNTED, Strangers, Turned
from headgate.services.following import GateFollower
from headgate.services.gated import AWAY_S, gate_rest
from headgate.services.strangers import Doorkeeper
from tests.storage.house import House, claim_of

PER_MINUTE = 100
HOLDERS = range(1, 8)


class Told:
    """Counts as a test says: each counter is the wait (ms) that it is answered with."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[tuple[list[bytes], int]] = []

    def count(self, counters: Sequence[bytes], per_minute: int) -> list[int]:
        if self.away:
            raise GateAway("injected")
        self.asked.append((list(counters), per_minute))
        return [int(counter) for counter in counters]


class Door:
    """A house of which everything has been given to HOLDERS, with a gate that has followed."""

    def __init__(self, place: Path | sa.URL) -> None:
        self.house = House(place)
        self.campaign_id = self.house.request(1).campaign_id
        self.pool_ids = [self.house.request(1, code).pool_id for code in ("a", "b")]
        self.now_s = 100.0
        self.gate = SimulatedGate()
        self.counts = Told()
        clock_s = lambda: self.now_s  # noqa: E731 -- twice
        self.doorkeeper = Doorkeeper(self.house.claims, self.gate, self.counts, gate_rest(clock_s), clock_s)
        self._follower = GateFollower(self.house.claims, self.gate)
        for person in HOLDERS:
            claim_of(self.house.ask(self.house.request(person, "a" if person <= 2 else "b"))[0])
        self.follow()

    def follow(self) -> None:
        self._follower.turn([self.campaign_id])

    def ask(self, *persons: int, waits_ms: Sequence[int] = ()) -> Turned:
        counters = [b"%d" % wait_ms for wait_ms in waits_ms]
        found = [self.house.request(person).person for person in persons]
        return self.doorkeeper.turn_away(Strangers(self.campaign_id, self.pool_ids, found, counters, PER_MINUTE))

    def said(self, *persons: int) -> list[int]:
        return self.ask(*persons).said


@pytest.fixture
def door(place: Path | sa.URL) -> Iterator[Door]:
    made = Door(place)
    yield made
    made.house.close()


def test_strangers_are_turned_away_and_holders_let_in(door: Door) -> None:
    assert door.said(50, 1, 51, 7) == [TURNED_AWAY, LET_IN, TURNED_AWAY, LET_IN]
    assert door.said() == []


def test_a_claim_that_the_gate_has_not_heard_of_lets_everybody_in(door: Door) -> None:
    door.house.create("tickets")
    door.house.ask(door.house.request(50, slug="tickets"))
    assert door.said(50, 51) == [LET_IN] * 2, "the gate lags, and the claim might be one of this campaign"
    door.follow()
    assert door.said(50, 51) == [TURNED_AWAY] * 2


def test_an_erased_gate_and_one_that_fell_back_let_everybody_in(door: Door) -> None:
    door.gate.replicate()
    door.house.campaigns.topup("masks", "a", 1, actor="test")
    claim_of(door.house.ask(door.house.request(50))[0])
    door.follow()
    assert door.said(50, 51) == [LET_IN, TURNED_AWAY]
    door.gate.fail_over()
    assert door.said(50, 51) == [LET_IN] * 2
    door.gate.flush()
    assert door.said(50, 51) == [LET_IN] * 2


def test_whoever_has_cancelled_is_known(door: Door) -> None:
    house = door.house
    house.claims.cancel(door.campaign_id, house.request(1).person, house.claims_of(1)[0].id)
    claim_of(house.ask(house.request(50))[0])
    door.follow()
    assert door.said(1, 50, 51) == [LET_IN, LET_IN, TURNED_AWAY]


@pytest.mark.parametrize("pool", ["a", "b"])
def test_one_unit_in_any_pool_lets_everybody_in(door: Door, pool: str) -> None:
    door.house.campaigns.topup("masks", pool, 1, actor="test")
    assert door.said(50, 1) == [LET_IN] * 2


def test_what_takes_no_claims_is_not_sold_out(door: Door) -> None:
    door.house.steer("pause", Control.ACTIVE, Control.PAUSED)
    assert door.said(50) == [LET_IN]
    door.house.steer("resume", Control.PAUSED, Control.ACTIVE)
    assert door.said(50) == [TURNED_AWAY]
    door.house.clock.ms += 60_000
    assert door.said(50) == [LET_IN], "the window has closed"


def test_a_pool_that_is_not_there_lets_everybody_in(door: Door) -> None:
    door.pool_ids.append(999_999)
    assert door.said(50) == [LET_IN]


def test_each_address_is_counted_and_who_has_to_wait_hears_nothing_else(door: Door) -> None:
    assert door.ask(50, 51, 1, 2, waits_ms=(0, 7_000, 0, 9)) == Turned([TURNED_AWAY, 7_000, LET_IN, 9], 0)
    assert door.counts.asked == [([b"0", b"7000", b"0", b"9"], PER_MINUTE)]


def test_a_gate_that_cannot_be_asked_lets_everybody_in_but_those_who_have_to_wait(door: Door) -> None:
    door.gate.away = True
    with structlog.testing.capture_logs() as logs:
        assert door.ask(50, 1, 51, waits_ms=(0, 0, 9)) == Turned([LET_IN, LET_IN, 9], 0)
        door.gate.away = False
        assert door.ask(50, 51, waits_ms=(0, 9)) == Turned([LET_IN, 9], 0), (
            "it is left alone for a moment, and counts go on"
        )
    assert [log["event"] for log in logs] == ["gate_away"]
    door.now_s += AWAY_S
    assert door.ask(50, waits_ms=(0,)) == Turned([TURNED_AWAY], 0)


def test_who_could_not_be_counted_is_let_in_and_those_behind_them_are_counted_elsewhere(door: Door) -> None:
    """Whether the first ones were counted nobody knows; for the others nothing was sent."""
    door.counts.away = True
    with structlog.testing.capture_logs() as logs:
        assert door.ask(50, 1, waits_ms=(0, 5)) == Turned([LET_IN] * 2, 2)
        door.counts.away = False
        assert door.ask(50, 1, waits_ms=(0, 0)) == Turned([UNCOUNTED] * 2, 0)
        assert door.said(50, 1) == [TURNED_AWAY, LET_IN], "where nothing is counted the gate is read as before"
    assert (door.counts.asked, [log["event"] for log in logs]) == ([], ["limits_not_counted"])
    door.now_s += AWAY_S
    assert door.ask(50, waits_ms=(0,)) == Turned([TURNED_AWAY], 0)


def test_a_ledger_that_cannot_be_asked_is_left_alone_and_the_limits_hold(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def away(_pool_ids: object) -> object:
        nonlocal asked
        asked += 1
        raise LedgerUnavailable("injected")

    with monkeypatch.context() as patched, structlog.testing.capture_logs() as logs:
        patched.setattr(door.house.claims, "pulse", away)
        for _ in range(3):
            assert door.ask(50, 51, 1, waits_ms=(0, 9, 0)) == Turned([UNANSWERED, 9, UNANSWERED], 0)
        assert asked == 1, "each question to one that hangs would keep claims waiting once more"
        door.now_s += AWAY_S
        assert door.said(50) == [UNANSWERED]
    assert (asked, [log["event"] for log in logs]) == (2, ["strangers_not_looked_up"])
    door.now_s += AWAY_S
    assert door.said(50, 1) == [TURNED_AWAY, LET_IN]


def test_a_ledger_that_is_damaged_is_no_answer(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_pool_ids: object) -> object:
        raise LedgerDamaged("injected")

    monkeypatch.setattr(door.house.claims, "pulse", damaged)
    with pytest.raises(LedgerDamaged):
        door.said(50)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_connection_that_was_closed_meanwhile_is_opened_again(door: Door) -> None:
    assert door.said(50) == [TURNED_AWAY]
    with door.house.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while connection.exec_driver_sql(gone).scalar_one():
            pass
    assert door.said(50, 1) == [TURNED_AWAY, LET_IN]
