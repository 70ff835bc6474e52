"""The life cycles are tables; whatever the code does has to be in them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.domain.campaign import (
    CAMPAIGN_LIFE,
    CONTROL_LIFE,
    REFUSAL_OF_PHASE,
    Campaign,
    Control,
    Kind,
    Phase,
    Verification,
    phase_of,
    window_refusal,
)
from headgate.domain.claim import CLAIM_LIFE, LIVE, Status

OPENS, CLOSES = 1_000, 2_000


def campaign(control: Control) -> Campaign:
    return Campaign(1, "c", Kind.FIRST_COME, {}, OPENS, CLOSES, 0, 1, False, Verification.NONE, control, 1, ())


def test_every_phase_is_reached_and_only_closed_is_final() -> None:
    assert set(CAMPAIGN_LIFE.values()) | {Phase.SCHEDULED} == set(Phase)
    assert set(Phase) - {source for source, _ in CAMPAIGN_LIFE} == {Phase.CLOSED}


def test_every_status_of_a_claim_is_reached_and_only_ends_are_final() -> None:
    assert set(CLAIM_LIFE.values()) == set(Status)
    finals = set(Status) - {source for source, _ in CLAIM_LIFE}
    assert finals == {Status.REDEEMED, Status.CANCELLED, Status.EXPIRED}


def test_a_claim_that_ended_never_lives_again() -> None:
    for (source, _), target in CLAIM_LIFE.items():
        assert source is None or source in LIVE or target not in LIVE


def test_operators_can_always_close_what_is_not_closed() -> None:
    for control in (Control.ACTIVE, Control.PAUSED):
        assert CONTROL_LIFE[control, "close"] is Control.CLOSED
    assert not [event for control, event in CONTROL_LIFE if control is Control.CLOSED]


def test_every_phase_but_open_has_its_refusal() -> None:
    assert set(REFUSAL_OF_PHASE) == set(Phase) - {Phase.OPEN}


@given(
    moments=st.lists(st.integers(0, 3_000), min_size=2, max_size=8).map(sorted),
    sold_out=st.booleans(),
    control=st.sampled_from(Control),
)
def test_time_moves_a_campaign_only_along_the_table(moments: list[int], sold_out: bool, control: Control) -> None:
    phases = [phase_of(campaign(control), now, sold_out=sold_out) for now in moments]
    allowed = {(source, target) for (source, _), target in CAMPAIGN_LIFE.items()}
    # Sold out is entered from open, which may last no time at all.
    allowed |= {(Phase.SCHEDULED, Phase.SOLD_OUT), (Phase.SCHEDULED, Phase.CLOSED)}
    for before, after in pairwise(phases):
        assert before is after or (before, after) in allowed


@pytest.mark.parametrize(("now", "refused"), [(999, True), (1_000, False), (1_999, False), (2_000, True)])
def test_the_window_is_half_open(now: int, refused: bool) -> None:
    assert (window_refusal(Control.ACTIVE, OPENS, CLOSES, now) is not None) is refused
