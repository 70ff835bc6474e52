"""The claim desk: takes claims, puts them to the ledger in batches, answers after the commit.

Micro-batching: what arrives while BATCHES_MAX batches are under way waits in a list and goes together
with the next.  Batches grow with load by themselves; there is no timer, and at low load a request goes
alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from ..domain.claim import Claim, ClaimRequest, Granted
from ..domain.outcome import STORE_UNAVAILABLE, UNKNOWN, Refusal
from ..ports.gate import Gate
from ..ports.ledger import BatchResult, LedgerBroken, LedgerUnavailable, LedgerWriter
from ..ports.pending import Pending
from ..ports.telemetry import Telemetry
from .stock import StockBoard

BATCH_MAX = 512
"""Claims in one transaction: bounds how long it holds the write lock and how many a crash leaves in doubt."""


BATCHES_MAX = 2
"""While the ledger commits one batch the next already lies before it, so that it never waits for the event
loop.  A third would only split the same requests into smaller transactions."""

Decision = Granted | Refusal

_log = structlog.get_logger("headgate.claims")


class ClaimDesk:
    """Owned by one event loop.  The caller bounds how many requests wait (the admission permits)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        writer: LedgerWriter,
        gate: Gate,
        board: StockBoard,
        telemetry: Telemetry,
        on_doubt: Callable[[int], None],
        on_broken: Callable[[], None],
        on_settled: Callable[[float], None] | None = None,
    ) -> None:
        """`on_doubt` is called with a campaign's id when a commit is in doubt, `on_broken` when storage failed.

        `on_settled` hears of every batch how long its first claim has waited (s), before anybody is told.
        """
        self._loop = loop
        self._writer = writer
        self._gate = gate
        self._board = board
        self._telemetry = telemetry
        self._on_doubt = on_doubt
        self._on_broken = on_broken
        self._on_settled = on_settled
        self._waiting: list[tuple[ClaimRequest, bool, Pending[Decision]]] = []
        # When the first of those that wait came (s); of no meaning while nobody does.
        self._waiting_since_s = 0.0
        self._under_way = 0
        self._failing = False
        self._broken = False

    def submit(self, request: ClaimRequest, *, fresh: bool) -> Pending[Decision]:
        """Put a claim to the ledger; `fresh` is the gate's belief that the person has no claim yet."""
        pending: Pending[Decision] = Pending(self._loop)
        # Before the answer is known, and whatever it will be: from here on this person may have a claim,
        # and must not be refused by a gate that has not heard of it.
        self._gate.learn_person(request.campaign_id, request.person)
        if not self._waiting:
            self._waiting_since_s = self._loop.time()
        self._waiting.append((request, fresh, pending))
        if self._under_way < BATCHES_MAX and len(self._waiting) == 1:
            self._under_way += 1
            # At the end of this turn of the loop, so that what arrived together goes together.
            self._loop.call_soon(self._send)
        return pending

    def cancel(self, campaign_id: int, person: bytes, claim_id: str) -> asyncio.Future[Claim | Refusal]:
        """Cancel a person's own claim; answers after the commit."""
        future: asyncio.Future[Claim | Refusal] = self._loop.create_future()
        self._writer.cancel(campaign_id, person, claim_id, partial(self._cancelled, campaign_id, future))
        return future

    def _send(self) -> None:
        if not self._waiting:
            self._under_way -= 1
            return
        if self._broken:
            # Nothing goes to storage that has failed: what waits here was never sent.
            self._under_way -= 1
            refused, self._waiting = self._waiting, []
            for _, _, pending in refused:
                pending.settle(STORE_UNAVAILABLE)
            return
        batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        requests = [item[0] for item in batch]
        fresh = [item[1] for item in batch]
        started, since = self._loop.time(), self._waiting_since_s
        self._telemetry.waited(started - since)
        waiting = [item[2] for item in batch]
        self._writer.confirm(requests, fresh, partial(self._settled, requests, waiting, started, since))

    def _settled(
        self,
        requests: Sequence[ClaimRequest],
        waiting: Sequence[Pending[Decision]],
        started: float,
        since: float,
        result: BatchResult | Exception,
    ) -> None:
        if self._on_settled is not None:
            self._on_settled(self._loop.time() - since)
        self._broken = self._broken or isinstance(result, LedgerBroken)
        # The next batch goes out first, so that the ledger works while the answers are written.
        self._send()
        self._telemetry.batch(len(requests), self._loop.time() - started)
        if isinstance(result, Exception):
            refusal = self._failure({request.campaign_id for request in requests}, len(requests), result)
            for pending in waiting:
                pending.settle(refusal)
            return
        if self._failing:
            self._failing = False
            _log.info("ledger_decides_again", requests=len(requests))
        self._board.learn(result.stock)
        for decision, pending in zip(result.decisions, waiting, strict=True):
            pending.settle(decision)

    def _cancelled(self, campaign_id: int, future: asyncio.Future[Claim | Refusal], result: Any) -> None:
        if isinstance(result, Exception):
            ended: Claim | Refusal = self._failure({campaign_id}, 1, result)
        else:
            ended, stock = result
            self._board.learn(stock)
        if not future.done():
            future.set_result(ended)

    def _failure(self, campaign_ids: set[int], requests: int, error: Exception) -> Refusal:
        """The honest answer: nothing was written, or nobody knows."""
        unavailable = isinstance(error, LedgerUnavailable)
        # The first failure of a row says it; a full disk would otherwise be filled with its own story.
        if not self._failing:
            _log.error("ledger_failed", error=str(error), kind=type(error).__name__, requests=requests)
        self._failing = True
        if not unavailable:
            for campaign_id in campaign_ids:
                self._on_doubt(campaign_id)
        if isinstance(error, LedgerBroken):
            # Stops this process a moment later, so that who waits here is still answered.
            self._on_broken()
        return STORE_UNAVAILABLE if unavailable else UNKNOWN
