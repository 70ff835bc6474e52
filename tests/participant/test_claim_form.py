"""What is refused without the body, and whether the body is worth reading before that is known."""

from __future__ import annotations

from typing import Any, cast

import pytest

from headgate.domain.campaign import Campaign, Control, Kind, Pool, Verification
from headgate.domain.outcome import Outcome
from headgate.participant.claims import ClaimForm
from headgate.ports.ledger import PoolStock
from headgate.services.book import CampaignBook, Entry, News
from headgate.services.sessions import Session
from headgate.services.stock import StockBoard
from headgate.storage.memory.gate import MemoryGate

OPENS_MS, CLOSES_MS = 1_000, 2_000
OWNER, STRANGER = b"o" * 16, b"s" * 16
PHASES = {
    "scheduled": (Control.ACTIVE, 1, OPENS_MS - 1),
    "open": (Control.ACTIVE, 1, OPENS_MS),
    "sold_out": (Control.ACTIVE, 0, OPENS_MS),
    "paused": (Control.PAUSED, 1, OPENS_MS),
    "paused before it opens": (Control.PAUSED, 1, OPENS_MS - 1),
    "closed": (Control.CLOSED, 1, OPENS_MS),
    "over": (Control.ACTIVE, 1, CLOSES_MS),
}


def house(control: Control, units: int, *, exclusive: bool) -> tuple[ClaimForm, Entry]:
    """A campaign in which OWNER has a claim."""
    board = StockBoard()
    gate = MemoryGate(board, exclusive=exclusive)
    book = CampaignBook(board, gate)
    campaign = Campaign(
        1, "masks", Kind.FIRST_COME, {}, OPENS_MS, CLOSES_MS, 0, 1, False, Verification.NONE, control, 1,
        (Pool(1, "shop", {}, 5),),
    )  # fmt: skip
    book.take(News(1, [PoolStock(1, 1, units, 1)], campaign, [OWNER]))
    nothing: Any = cast("Any", None)
    entry = book.get("masks")
    assert entry is not None
    return ClaimForm(nothing, gate, nothing, nothing, b"k" * 32), entry


def early(form: ClaimForm, entry: Entry, person: bytes, now_ms: int) -> Outcome | None:
    refusal = form.refuse_early(entry, Session(person, verified=True, synthetic=False), now_ms)
    return None if refusal is None else refusal.outcome


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("phase", PHASES)
def test_a_body_is_read_first_where_a_stranger_is_not_refused_without_it(phase: str, exclusive: bool) -> None:
    control, units, now_ms = PHASES[phase]
    form, entry = house(control, units, exclusive=exclusive)
    assert form.needs_body(entry, now_ms) == (early(form, entry, STRANGER, now_ms) is None)


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [
        ("scheduled", Outcome.NOT_OPEN),
        ("open", None),
        ("sold_out", Outcome.SOLD_OUT),
        ("paused", Outcome.PAUSED),
        ("paused before it opens", Outcome.PAUSED),
        ("closed", Outcome.CLOSED),
        ("over", Outcome.CLOSED),
    ],
)
def test_who_holds_nothing_for_certain_is_refused_without_a_body(phase: str, outcome: Outcome | None) -> None:
    control, units, now_ms = PHASES[phase]
    form, entry = house(control, units, exclusive=True)
    assert early(form, entry, STRANGER, now_ms) == outcome


@pytest.mark.parametrize("phase", list(PHASES)[1:])
@pytest.mark.parametrize(("person", "exclusive"), [(OWNER, True), (OWNER, False), (STRANGER, False)])
def test_nobody_who_may_hold_a_claim_is_refused_without_the_ledger(phase: str, person: bytes, exclusive: bool) -> None:
    control, units, now_ms = PHASES[phase]
    form, entry = house(control, units, exclusive=exclusive)
    assert early(form, entry, person, now_ms) is None


@pytest.mark.parametrize("exclusive", [True, False])
def test_before_it_opens_nobody_is_asked_about(exclusive: bool) -> None:
    control, units, now_ms = PHASES["scheduled"]
    form, entry = house(control, units, exclusive=exclusive)
    assert early(form, entry, OWNER, now_ms) is Outcome.NOT_OPEN
