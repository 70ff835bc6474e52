"""The desk of queued campaigns: requests that may get something wait for their decision."""

from __future__ import annotations

from ..domain.campaign import NO_POOL
from ..domain.claim import ClaimRequest
from ..ports.clock import Clock
from ..ports.pending import Pending
from ..ports.queue import ClaimQueue, Enqueued, QueueState
from .book import Entry
from .claiming import ClaimDesk, Decision


class QueuedDesk:
    """Owned by one event loop."""

    def __init__(self, queue: ClaimQueue, desk: ClaimDesk, clock: Clock) -> None:
        self._queue = queue
        self._desk = desk
        self._clock = clock

    def submit(self, entry: Entry, request: ClaimRequest) -> Enqueued | Pending[Enqueued] | Pending[Decision]:
        """Let a request wait; what will most likely be refused is decided at once, as in any campaign.

        Whoever asks for an empty pool, or outside the window, would wait for an answer that the ledger gives in
        a moment, and fill the queue.
        """
        if request.pool_id != NO_POOL and entry.has_stock(request.pool_id) and entry.takes_claims(self._clock.now_ms()):
            return self._queue.put(request)
        return self._desk.submit(request, fresh=False)

    async def state_of(self, entry: Entry, person: bytes) -> QueueState:
        return await self._queue.state_of(entry.campaign.id, person)
