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
from headgate.ports.ledger import LedgerUnavailable
from headgate.ports.strangers import LET_IN, TURNED_AWAY, Strangers, Turned
from headgate.services.following import GateFollower
from headgate.services.gated import AWAY_S, Rest
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
        self.doorkeeper = Doorkeeper(self.house.claims, self.gate, self.counts, Rest(lambda: self.now_s))
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


@pytest.mark.parametrize("what", ["gate", "counts"])
def test_a_gate_that_is_away_lets_everybody_in_says_so_and_is_left_alone(door: Door, what: str) -> None:
    part = door.gate if what == "gate" else door.counts
    part.away = True
    with structlog.testing.capture_logs() as logs:
        assert door.ask(50, 1, waits_ms=(0, 5)) == Turned([LET_IN] * 2, 2)
        door.counts.asked.clear()
        part.away = False
        assert door.ask(50, waits_ms=(0,)) == Turned([LET_IN], 1)
        assert door.counts.asked == []
    assert [log["event"] for log in logs] == ["gate_away"]
    door.now_s += AWAY_S
    assert door.ask(50, waits_ms=(0,)) == Turned([TURNED_AWAY], 0)


def test_a_ledger_that_cannot_be_asked_is_no_answer(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_pool_ids: object) -> object:
        raise LedgerUnavailable("injected")

    monkeypatch.setattr(door.house.claims, "pulse", away)
    with pytest.raises(LedgerUnavailable):
        door.said(50)
