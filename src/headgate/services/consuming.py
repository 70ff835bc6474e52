"""The consumer: takes what waits in queues, puts it to the ledger in batches, tells the queue what came of it.

Theory of operation.  Nothing leaves a queue before the ledger has committed what came of it, and a consumer
remembers nothing between two turns: after any failure, its own restart included, it takes what it took
before and decides it again.  Every request in a queue has a key, so the ledger answers it with the claim
that it made the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import structlog

from ..domain.campaign import Mode
from ..domain.claim import Granted
from ..domain.outcome import Refusal
from ..ports.clock import Clock
from ..ports.gate import GateAway
from ..ports.ledger import CampaignLedger, ClaimLedger, DecidingLedger, LedgerBroken, LedgerError
from ..ports.queue import Taken, WaitingClaims, Which
from ..ports.telemetry import Telemetry
from .claiming import BATCH_MAX

LOOK_S = 0.5
"""How often the ledger is asked for campaigns that are new."""
ABANDONED_EVERY_S = 1.0
"""How often it looks for what a dead consumer has left."""
IDLE_S = 0.02
"""Between two looks into queues in which nothing waits."""
IDLE_SHARE = 4
"""Looking into many empty queues takes a fifth of the time: it rests for so many times as long as it looked."""
RETRY_MIN_S = 0.1
RETRY_MAX_S = 2.0
"""Pause after a failure; doubled with each one that follows."""
AFTERWARDS_MS = 86_400_000
"""A day after its end nothing waits for a campaign any more; until then it is told that it is closed."""

_log = structlog.get_logger("headgate.consumer")


class _Campaign(NamedTuple):
    id: int
    slug: str
    closes_at_ms: int


class Consumer:
    """One thread's; `turn` is called again and again."""

    def __init__(
        self,
        campaigns: CampaignLedger,
        claims: ClaimLedger,
        ledger: DecidingLedger,
        queue: WaitingClaims,
        telemetry: Telemetry,
        clock: Clock,
        timer: Callable[[], float],
    ) -> None:
        """`ledger` decides, `claims` tells which campaigns there are; `timer` gives seconds and never steps."""
        self._campaigns = campaigns
        self._claims = claims
        self._ledger = ledger
        self._queue = queue
        self._telemetry = telemetry
        self._clock = clock
        self._timer = timer
        self._known: set[int] = set()
        self._queued: list[_Campaign] = []
        # Of which it may have taken something that is not settled.
        self._unsettled: set[int] = set()
        self._look_at = 0.0
        self._abandoned_at = 0.0
        self._pause_s = 0.0
        self.length = 0
        """Requests that waited in all queues when it last looked."""
        self.age_s = 0.0
        """For how long the first of them had waited."""

    def turn(self) -> float:
        """Decide what waits, a batch of each campaign at most; how long to wait before the next turn (s).

        Raises LedgerBroken: this process has to end, and what it took waits for the next one.
        """
        began = self._timer()
        try:
            self._look(began)
            decided = self._serve_all(began)
        except LedgerBroken:
            raise
        except (LedgerError, GateAway) as error:
            return self._failed(error)
        self._pause_s = 0.0
        return 0.0 if decided else max(IDLE_S, IDLE_SHARE * (self._timer() - began))

    def _look(self, now: float) -> None:
        if now < self._look_at:
            return
        for campaign_id in self._claims.versions().keys() - self._known:
            # What is asked here never changes.
            campaign = self._campaigns.campaign_by_id(campaign_id)
            if campaign.mode is Mode.QUEUED:
                self._queued.append(_Campaign(campaign.id, campaign.slug, campaign.closes_at_ms))
                self._unsettled.add(campaign.id)
            self._known.add(campaign_id)
        over_ms = self._clock.now_ms() - AFTERWARDS_MS
        self._queued = [campaign for campaign in self._queued if campaign.closes_at_ms > over_ms]
        self._look_at = now + LOOK_S

    def _serve_all(self, now: float) -> int:
        """How many requests were decided."""
        abandoned = now >= self._abandoned_at
        decided = length = 0
        age_s = 0.0
        # The first goes to the end, so that one that cannot be served keeps no other waiting for ever.
        self._queued = self._queued[1:] + self._queued[:1]
        for campaign in self._queued:
            taken = self._serve(campaign, abandoned=abandoned)
            decided += len(taken.waiting)
            length += taken.length - len(taken.waiting)
            age_s = max(age_s, taken.age_s)
        if abandoned:
            self._abandoned_at = now + ABANDONED_EVERY_S
        self.length, self.age_s = length, age_s
        return decided

    def _serve(self, campaign: _Campaign, *, abandoned: bool) -> Taken:
        order = [Which.NEW]
        if abandoned:
            order.insert(0, Which.ABANDONED)
        if campaign.id in self._unsettled:
            order.insert(0, Which.OWN)
        self._unsettled.add(campaign.id)
        for which in order:
            taken = self._queue.take(campaign.id, which, BATCH_MAX)
            if taken.waiting:
                self._decide(campaign, taken)
                break
        if which is not Which.OWN:
            self._unsettled.discard(campaign.id)
        return taken

    def _decide(self, campaign: _Campaign, taken: Taken) -> None:
        batch = [waiting.request for waiting in taken.waiting]
        began = self._timer()
        result = self._ledger.confirm(batch, [False] * len(batch))
        self._telemetry.batch(len(batch), self._timer() - began)
        # Only now that it is committed: until here whoever looks is told that they wait.
        self._queue.settle(campaign.id, list(zip(taken.waiting, result.decisions, strict=True)))
        for decision in result.decisions:
            self._telemetry.decided(campaign.slug, _name(decision))

    def _failed(self, error: Exception) -> float:
        """What was taken stays in the queue; the first failure of a row is said, not each of them."""
        if not self._pause_s:
            _log.error("nothing_decided", error=str(error), kind=type(error).__name__)
        self._pause_s = min(2 * self._pause_s, RETRY_MAX_S) or RETRY_MIN_S
        return self._pause_s


def _name(decision: Granted | Refusal) -> str:
    if isinstance(decision, Refusal):
        return decision.outcome
    return "repeated" if decision.repeated else "confirmed"
