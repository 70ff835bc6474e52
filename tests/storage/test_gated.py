"""A ledger behind a shared gate answers as it would without: whoever holds something is never refused by a gate."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog.testing

from headgate.domain.campaign import Control
from headgate.domain.claim import ClaimRequest, Granted
from headgate.domain.outcome import SOLD_OUT, Refusal
from headgate.lab.simulation.shared_gate import SimulatedGate
from headgate.ports.ledger import BatchResult, ClaimLedger
from headgate.services.following import PAGE, GateFollower
from headgate.services.gated import AWAY_S, GatedClaims, gate_rest
from tests.storage.house import House, claim_of


class Watched:
    """A ledger that remembers what it was asked."""

    def __init__(self, ledger: ClaimLedger) -> None:
        self._ledger = ledger
        self.confirmed: list[int] = []
        self.pulses = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        self.confirmed.append(len(batch))
        return self._ledger.confirm(batch, fresh)

    def pulse(self, pool_ids: Collection[int]) -> tuple[int, dict[int, int]]:
        self.pulses += 1
        return self._ledger.pulse(pool_ids)


class Gated:
    """A house whose pool `a` has been given to persons 1 and 2, with a gate that has followed."""

    def __init__(self, place: Path | sa.URL) -> None:
        self.house = House(place)
        self.now_s = 100.0
        self.gate = SimulatedGate()
        self.ledger = Watched(self.house.claims)
        self.claims = GatedClaims(self.ledger, self.gate, gate_rest(lambda: self.now_s))  # type: ignore[arg-type]  # as a ledger
        self._follower = GateFollower(self.house.claims, self.gate)
        self.held = self.ask(1, 2)
        assert self.ask(3) == [SOLD_OUT], "from here on the pool is believed to be empty"
        self.follow()
        self.forget()

    def follow(self) -> None:
        self._follower.turn([self.house.request(1).campaign_id])

    def forget(self) -> None:
        self.ledger.confirmed, self.ledger.pulses = [], 0

    def ask(self, *persons: int, pool: str = "a") -> list[Granted | Refusal]:
        batch = [self.house.request(person, pool) for person in persons]
        return self.claims.confirm(batch, [True] * len(batch)).decisions


@pytest.fixture
def gated(place: Path | sa.URL) -> Iterator[Gated]:
    made = Gated(place)
    yield made
    made.house.close()


def test_strangers_are_refused_by_one_small_question(gated: Gated) -> None:
    assert gated.ask(*range(10, 60)) == [SOLD_OUT] * 50
    assert (gated.ledger.confirmed, gated.ledger.pulses) == ([], 1)


def test_whoever_holds_something_is_answered_by_the_ledger(gated: Gated) -> None:
    decisions = gated.ask(1, 50, 2)
    assert [claim_of(decisions[0]).id, claim_of(decisions[2]).id] == [claim_of(held).id for held in gated.held]
    assert decisions[1] is SOLD_OUT
    assert gated.ledger.confirmed == [2]


def test_what_can_be_had_is_given_in_the_same_batch(gated: Gated) -> None:
    batch = [gated.house.request(50), gated.house.request(51, "b"), gated.house.request(52)]
    result = gated.claims.confirm(batch, [True] * 3)
    assert (result.decisions[0], result.decisions[2]) == (SOLD_OUT, SOLD_OUT)
    assert claim_of(result.decisions[1]).pool_code == "b"
    assert [stock.remaining for stock in result.stock] == [4]


def test_a_claim_that_the_gate_has_not_heard_of_is_found(gated: Gated) -> None:
    """Made on another node a moment ago."""
    other = gated.house.ask(gated.house.request(9, "b"))[0]
    assert gated.ask(9, 50)[1] is SOLD_OUT
    assert gated.ledger.confirmed == [2], "nobody is refused by a gate that lags"
    assert claim_of(gated.ask(9, pool="b")[0]).id == claim_of(other).id
    gated.follow()
    gated.forget()
    assert gated.ask(50) == [SOLD_OUT]
    assert gated.ledger.confirmed == []


def test_an_erased_gate_refuses_nobody_until_it_has_followed_again(gated: Gated) -> None:
    gated.gate.flush()
    assert isinstance(gated.ask(1)[0], Granted)
    assert gated.ask(50) == [SOLD_OUT]
    assert gated.ledger.confirmed == [1, 1]
    gated.follow()
    gated.forget()
    assert gated.ask(50) == [SOLD_OUT]
    assert gated.ledger.confirmed == []


def test_a_failover_that_lost_somebody_refuses_nobody(gated: Gated) -> None:
    gated.gate.replicate()
    gated.house.ask(gated.house.request(9, "b"))
    gated.follow()
    gated.gate.fail_over()
    assert gated.ask(9)[0] != SOLD_OUT, "person 9 holds the one claim that they may"
    assert gated.ledger.confirmed == [1]


def test_stock_that_came_back_is_given(gated: Gated) -> None:
    house = gated.house
    house.claims.cancel(house.request(1).campaign_id, house.request(1).person, claim_of(gated.held[0]).id)
    assert [type(decision) for decision in gated.ask(50, 51)] == [Granted, Refusal]


def test_stock_that_was_added_is_given(gated: Gated) -> None:
    gated.house.campaigns.topup("masks", "a", 1, actor="test")
    assert [type(decision) for decision in gated.ask(50, 51)] == [Granted, Refusal]


def test_one_s_own_cancellation_is_known_at_once(gated: Gated) -> None:
    house = gated.house
    gated.claims.cancel(house.request(1).campaign_id, house.request(1).person, claim_of(gated.held[0]).id)
    assert isinstance(gated.ask(50)[0], Granted)
    assert gated.ledger.pulses == 0


def test_a_gate_that_is_away_is_left_alone_for_a_second(gated: Gated) -> None:
    gated.gate.away = True
    with structlog.testing.capture_logs() as logs:
        assert gated.ask(50) == [SOLD_OUT]
        gated.now_s += AWAY_S / 2
        gated.gate.away = False
        assert gated.ask(51) == [SOLD_OUT]
        assert gated.ledger.confirmed == [1, 1]
        gated.now_s += AWAY_S
        assert gated.ask(52) == [SOLD_OUT]
    assert gated.ledger.confirmed == [1, 1]
    assert [log["event"] for log in logs] == ["gate_away"]


def test_a_gate_of_another_history_is_not_believed_and_begins_anew(gated: Gated) -> None:
    """As after a backup was restored."""
    campaign_id = gated.house.request(1).campaign_id
    gated.gate.erase(campaign_id)
    gated.gate.follow(campaign_id, -1, 1_000, [])
    assert isinstance(gated.ask(1)[0], Granted)
    gated.follow()
    assert gated.gate.place(campaign_id) == 2
    assert gated.gate.seen(campaign_id, [gated.house.request(1).person]).known == [True]


def test_a_follower_comes_after_in_pages(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    house, campaign_id = gated.house, gated.house.request(1).campaign_id
    house.campaigns.topup("masks", "b", 40, actor="test")
    house.create("tickets")
    for person in range(60, 100):
        house.ask(house.request(person, "b"), house.request(person, "b", slug="tickets"))
    monkeypatch.setattr("headgate.services.following.PAGE", 7)
    gated.follow()
    last_seq, _ = house.claims.pulse(())
    seen = gated.gate.seen(campaign_id, [house.request(person).person for person in range(1, 101)])
    assert seen.up_to == last_seq
    assert [number for number, known in enumerate(seen.known, 1) if known] == [1, 2, *range(60, 100)]
    assert PAGE >= 1_000, "a page a claim would be a call a claim"


def test_a_pulse_is_of_one_moment_and_says_zero_for_nothing(place: Path | sa.URL) -> None:
    house = House(place)
    pool_ids = {house.request(1, code).pool_id for code in ("a", "b")}
    assert house.claims.pulse(()) == (0, {})
    assert sorted(house.claims.pulse(pool_ids)[1].values()) == [2, 5]
    house.ask(house.request(1))
    assert house.claims.pulse(pool_ids) == (1, {house.request(1).pool_id: 1, house.request(1, "b").pool_id: 5})
    assert house.claims.pulse({999_999}) == (1, {})
    house.steer("pause", Control.ACTIVE, Control.PAUSED)
    assert house.claims.pulse(pool_ids) == (1, {}), "nothing is sold out of what nobody can claim"
    house.close()
