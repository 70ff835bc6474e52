"""Which requests of a queued campaign wait, and which are answered at once."""

from __future__ import annotations

from typing import Any, cast

import pytest

from headgate.domain.campaign import NO_POOL, Campaign, Control, Kind, Mode, Pool, Verification
from headgate.domain.claim import ClaimRequest
from headgate.ports.ledger import PoolStock
from headgate.services.book import Entry
from headgate.services.queued import QueuedDesk
from headgate.services.stock import StockBoard
from tests.fakes import HandClock

OPENS_MS, CLOSES_MS = 1_000, 2_000


class Told:
    """A queue, or a desk, that only says that it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def put(self, _request: ClaimRequest) -> str:
        return self.name

    def submit(self, _request: ClaimRequest, *, fresh: bool) -> str:
        assert not fresh, "a consumer may have claimed for them"
        return self.name


def asked(now_ms: int = 1_500, pool_id: int = 1, control: Control = Control.ACTIVE, left: int = 5) -> str:
    """Who is asked about a request for the first of two pools, unless it says another."""
    board = StockBoard()
    campaign = Campaign(
        7, "lamps", Kind.FIRST_COME, {}, OPENS_MS, CLOSES_MS, 0, 1, False, Verification.NONE, control, 1,
        (Pool(1, "a", {}, 5), Pool(2, "b", {}, 5)), mode=Mode.QUEUED,
    )  # fmt: skip
    board.learn([PoolStock(7, 1, left, 1), PoolStock(7, 2, 5, 1)])
    desk = QueuedDesk(cast("Any", Told("queue")), cast("Any", Told("ledger")), HandClock(now_ms))
    return cast("str", desk.submit(Entry(campaign, board, queues=True), ClaimRequest(7, pool_id, b"p" * 16)))


def test_what_may_get_something_waits() -> None:
    assert asked() == "queue"
    assert asked(OPENS_MS) == asked(CLOSES_MS - 1) == "queue"
    assert asked(left=0, pool_id=2) == "queue"


@pytest.mark.parametrize(
    "refused",
    [
        {"now_ms": OPENS_MS - 1},
        {"now_ms": CLOSES_MS},
        {"control": Control.PAUSED},
        {"control": Control.CLOSED},
        {"left": 0},
        {"pool_id": NO_POOL},
    ],
)
def test_what_will_be_refused_is_answered_at_once_by_the_ledger_which_knows_who_holds_a_claim(
    refused: dict[str, Any],
) -> None:
    assert asked(**refused) == "ledger"
