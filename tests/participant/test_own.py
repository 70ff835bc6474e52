"""What somebody who waits is told of what they have, whatever is decided while they ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import pytest

from headgate.domain.campaign import Campaign, Control, Kind, Mode, Pool, Verification
from headgate.domain.claim import Claim, Status
from headgate.domain.outcome import QUEUE_NOT_READ
from headgate.participant.forms import _notice
from headgate.participant.own import Own, look_up
from headgate.participant.refused import Refused
from headgate.ports.queue import QueueState
from headgate.services.book import Entry
from headgate.services.stock import StockBoard
from tests.participant.pages_samples import sample_claim

PERSON = b"p" * 16


class Scene:
    """The queue and the ledger, asked one after the other; `meanwhile` happens after the first question."""

    def __init__(self, mode: Mode = Mode.QUEUED, per_person: int = 1) -> None:
        campaign = Campaign(
            1, "lamps", Kind.FIRST_COME, {}, 0, 9, 0, per_person, False, Verification.NONE, Control.ACTIVE, 1,
            (Pool(1, "a", {}, 5),), mode=mode,
        )  # fmt: skip
        self.entry = Entry(campaign, StockBoard(), queues=True)
        self.state = QueueState(False)
        self.claims: list[Claim] = []
        self.meanwhile: Callable[[], None] | None = None
        self.asked: list[str] = []
        self.queued = self
        self.reader = self
        self.permit = nullcontext

    def _answer(self, name: str, found: Any) -> Any:
        self.asked.append(name)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found

    async def state_of(self, _entry: Entry, _person: bytes) -> QueueState:
        return cast("QueueState", self._answer("queue", self.state))

    async def claims_of(self, _campaign_id: int, _person: bytes) -> list[Claim]:
        return cast("list[Claim]", self._answer("ledger", list(self.claims)))

    def look(self) -> Own:
        return asyncio.run(look_up(cast("Any", self), self.entry, PERSON))


def test_what_is_decided_while_somebody_asks_is_never_missed_by_both_answers() -> None:
    scene = Scene()
    scene.state = QueueState(True)

    def decided() -> None:
        """As a consumer does it: the ledger first, then the queue."""
        scene.claims = [sample_claim()]
        scene.state = QueueState(False)

    scene.meanwhile = decided
    own = scene.look()
    assert own.claims or own.state == QueueState(True), "nothing there and nothing waits: they would ask again"
    own = scene.look()
    assert (len(own.claims), own.live, own.state) == (1, 1, QueueState(False))


def test_an_immediate_campaign_asks_the_ledger_alone() -> None:
    scene = Scene(Mode.IMMEDIATE)
    assert scene.look() == Own([], 0, None)
    assert scene.asked == ["ledger"]


def test_what_cannot_be_known_is_no_nothing() -> None:
    scene = Scene()
    scene.state = QueueState(None)
    with pytest.raises(Refused) as refused:
        scene.look()
    assert refused.value.refusal is QUEUE_NOT_READ
    scene.claims = [sample_claim()]
    assert scene.look() == Own(scene.claims, 1, QueueState(None)), "a claim is shown, wherever the queue is"


@pytest.mark.parametrize("outcome", ["sold_out", "closed", "paused", "not_open"])
def test_whoever_holds_all_that_they_may_is_not_told_that_they_lost(outcome: str) -> None:
    scene = Scene(per_person=2)
    scene.state = QueueState(False, outcome)
    assert scene.look().state == QueueState(False, outcome)
    scene.claims = [sample_claim(), sample_claim(Status.CANCELLED, number=2)]
    assert scene.look().state == QueueState(False, outcome)
    scene.claims.append(sample_claim(number=3))
    assert scene.look().state == QueueState(False)


def test_whoever_asked_for_too_much_is_told_so() -> None:
    scene = Scene()
    scene.state, scene.claims = QueueState(False, "limit_reached"), [sample_claim()]
    assert scene.look().state == QueueState(False, "limit_reached")


@pytest.mark.parametrize(
    ("asked", "state", "held", "per_person", "said"),
    [
        ("pending", QueueState(True), 0, 1, None),
        ("pending", QueueState(None), 1, 2, None),
        ("pending", QueueState(False, "sold_out"), 0, 1, None),
        ("pending", QueueState(False), 0, 1, "lost"),
        ("pending", QueueState(False), 1, 1, "confirmed"),
        ("pending", QueueState(False), 1, 2, None),
        ("cancelled", QueueState(False), 0, 1, "cancelled"),
        (None, QueueState(False), 0, 1, None),
    ],
)
def test_a_page_announces_what_came_of_a_form(
    asked: str | None, state: QueueState, held: int, per_person: int, said: str | None
) -> None:
    entry = Scene(per_person=per_person).entry
    assert _notice(asked, entry, Own([sample_claim()] * held, held, state)) == said


def test_a_page_of_an_immediate_campaign_announces_nothing_that_waits() -> None:
    assert _notice("pending", Scene(Mode.IMMEDIATE).entry, Own([], 0, None)) is None
