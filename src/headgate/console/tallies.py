"""Re-counts of campaigns, made no more often than they are worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from ..ports.clock import Clock
from ..ports.ledger import Tally

FRESH_S = 1.0
COST_SHARE_MAX = 0.1
"""Counting may take this share of the time: a count that took one second is good for ten."""


class Counted(msgspec.Struct, frozen=True):
    tally: Tally
    at_ms: int


class Tallies:
    """Thread-safe.  One count at a time, whoever asks: a count reads every claim of its campaign."""

    def __init__(
        self, count: Callable[[str], Tally], clock: Clock, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """`count` counts the campaign of a slug, or raises UnknownCampaign; `timer` gives seconds and never steps."""
        self._count_rows = count
        self._clock = clock
        self._timer = timer
        self._counting = threading.Lock()
        self._known: dict[str, tuple[Counted, float]] = {}

    def of(self, slug: str) -> Counted:
        """The campaign's tally, counted now or a moment ago; raises UnknownCampaign."""
        known = self._fresh(slug)
        if known is not None:
            return known
        older = self._known.get(slug)
        # While somebody else counts, an older count is better than one more waiting thread.
        if not self._counting.acquire(blocking=older is None):
            assert older is not None
            return older[0]
        try:
            return self._fresh(slug) or self._count(slug)
        finally:
            self._counting.release()

    def _fresh(self, slug: str) -> Counted | None:
        known = self._known.get(slug)
        return known[0] if known is not None and self._timer() < known[1] else None

    def _count(self, slug: str) -> Counted:
        began = self._timer()
        at_ms = self._clock.now_ms()
        counted = Counted(self._count_rows(slug), at_ms)
        ended = self._timer()
        self._known[slug] = (counted, ended + max(FRESH_S, (ended - began) / COST_SHARE_MAX))
        return counted
