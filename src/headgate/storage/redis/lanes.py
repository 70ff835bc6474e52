"""Sends what arrived in one turn of the event loop to a shared Redis or Valkey together.

A call for each request would cost more than the request.  What belongs to one slot of a cluster shares a
lane, and each lane has a few calls under way; there is no timer.  Nothing is sent twice, and a store that
failed is left alone for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import redis.exceptions
import structlog

from ...ports.ledger import LedgerError
from ...ports.pending import Pending
from .address import GateAddress
from .client import CONNECTIONS_MAX, AsyncClient, close_async, open_async

BATCH_MAX = 512
"""Requests in one call: some milliseconds of the server, which does nothing else meanwhile."""
CALLS_MAX = 1
"""Calls of one lane under way: what comes meanwhile goes together, and a second call would only split it."""
AWAY_S = 1.0
"""After a call that failed nobody is kept waiting for another one so long."""
WAITING_MAX = 16_384
"""Requests of one lane that wait for a call, as many as a worker has connections."""

# What is said before anything was done: the server's word that it does nothing now, or ours that nothing was sent.
# A connection that broke is neither, whenever it did.
_NOT_DONE = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.MaxConnectionsError,
    LedgerError,
)

_log = structlog.get_logger("headgate.gate")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Lanes(Generic[Item, Result]):
    """Owned by one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: GateAddress,
        call: Callable[[AsyncClient, Sequence[Item]], Awaitable[Sequence[Result]]],
        instead: Callable[[Sequence[Item], bool], Sequence[Result]],
        event: str,
    ) -> None:
        """`call` asks the store about a batch.

        `instead` says what those are told who could not be answered, and hears whether the store may have done what
        they asked for; the log calls it `event`.
        """
        self._loop = loop
        self._address = address
        self._call = call
        self._instead = instead
        self._event = event
        self._client: AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._lanes: dict[str, _Lane[Item, Result]] = {}
        self._connections = asyncio.Semaphore(CONNECTIONS_MAX)
        self._away_until = 0.0
        self._calls: set[asyncio.Task[None]] = set()

    def ask(self, tag: str, item: Item) -> Result | Pending[Result]:
        """Items of one `tag` go together."""
        lane = self._lanes.get(tag)
        if lane is None:
            lane = self._lanes[tag] = _Lane()
        waiting = lane.waiting
        # Whether the store is away is asked first where it has been, because asking for the time costs some percent.
        if (self._away_until and self._loop.time() < self._away_until) or len(waiting) >= WAITING_MAX:
            return self._instead([item], False)[0]
        pending: Pending[Result] = Pending(self._loop)
        waiting.append((item, pending))
        if lane.under_way < CALLS_MAX and len(waiting) == 1:
            lane.under_way += 1
            # At the end of this turn of the loop, so that what arrived together goes together.
            self._loop.call_soon(self._send, lane)
        return pending

    def _send(self, lane: _Lane[Item, Result]) -> None:
        if not lane.waiting:
            lane.under_way -= 1
            return
        if self._loop.time() < self._away_until:
            lane.under_way -= 1
            unasked, lane.waiting = lane.waiting, []
            results = self._instead([item for item, _ in unasked], False)
            for (_, pending), result in zip(unasked, results, strict=True):
                pending.settle(result)
            return
        batch, lane.waiting = lane.waiting[:BATCH_MAX], lane.waiting[BATCH_MAX:]
        call = self._loop.create_task(self._ask(lane, batch))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _ask(self, lane: _Lane[Item, Result], batch: Sequence[tuple[Item, Pending[Result]]]) -> None:
        items = [item for item, _ in batch]
        sent = False
        try:
            # So that calls of many lanes wait for a connection instead of failing for want of one.
            async with self._connections:
                client = await self._open()
                sent = True
                results = await self._call(client, items)
        except Exception as error:  # noqa: BLE001 -- whatever it is, whoever waits has to be told
            # The first failure of a row says it.
            if self._loop.time() >= self._away_until + AWAY_S:
                _log.error(self._event, gate=str(self._address), error=str(error), kind=type(error).__name__)
            self._away_until = self._loop.time() + AWAY_S
            results = self._instead(items, sent and not isinstance(error, _NOT_DONE))
            await self.close()
        # Not from here, inside a task: whoever is woken may be a task too.
        self._loop.call_soon(self._settle, lane, batch, results)

    def _settle(
        self, lane: _Lane[Item, Result], batch: Sequence[tuple[Item, Pending[Result]]], results: Sequence[Result]
    ) -> None:
        self._send(lane)
        for (_, pending), result in zip(batch, results, strict=True):
            pending.settle(result)

    async def _open(self) -> AsyncClient:
        # One at a time: a cluster's client that several calls make ask for its nodes at once cuts them all off.
        async with self._opening:
            if self._client is None:
                self._client = await open_async(self._address)
            return self._client

    async def close(self) -> None:
        """Let go of the connections.  The next call opens others: after a failover they lead somewhere else."""
        client, self._client = self._client, None
        if client is not None:
            await close_async(client)


class _Lane(Generic[Item, Result]):
    """What goes to one slot together."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Item, Pending[Result]]] = []
        self.under_way = 0
