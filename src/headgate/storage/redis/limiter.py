"""Requests per subject and minute, counted for all nodes on one Redis or Valkey, in batches."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis.exceptions
import structlog

from ...ports.limiter import ADDRESSES, WINDOW_S, Limit
from ...ports.pending import Pending
from .address import CLUSTER, GateAddress
from .client import CONNECTIONS_MAX, AsyncClient, close_async, open_async

SCRIPT = (Path(__file__).parent / "limits.lua").read_text(encoding="utf-8")
SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

BATCH_MAX = 512
"""Requests in one call: some milliseconds of the server, which does nothing else meanwhile."""
CALLS_MAX = 2
"""Calls of one lane under way: while one is answered the next already lies at the server."""
LANES = 4
"""Where a cluster counts what belongs to no campaign: in so many slots, on different servers."""
AWAY_S = 1.0
"""After a call that failed nobody is kept waiting for another one so long."""
WAITING_MAX = 16_384
"""Requests of one lane that wait for a call, as many as a worker has connections; more are let through."""

_log = structlog.get_logger("headgate.limits")

Asked = tuple[Sequence[str], Sequence[Limit], Pending[float]]


class RedisLimiter:
    """See `headgate.ports.limiter.Limiter`.  Owned by one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: GateAddress,
        key: bytes,
        uncounted: Callable[[int], None],
    ) -> None:
        """`key` keeps addresses and persons unreadable there; `uncounted` is told how many were let through."""
        self._loop = loop
        self._address = address
        self._client: AsyncClient | None = None
        self._opening = asyncio.Lock()
        self._lanes_of_addresses = LANES if address.kind == CLUSTER else 1
        self._key = hashlib.blake2b(key, digest_size=32, person=b"hg-limits").digest()
        self._uncounted = uncounted
        self._lanes: dict[str, _Lane] = {}
        self._connections = asyncio.Semaphore(CONNECTIONS_MAX)
        self._away_until = 0.0
        self._calls: set[asyncio.Task[None]] = set()

    def wait_s(self, group: str, limits: Sequence[Limit]) -> float | Pending[float]:
        if self._loop.time() < self._away_until:
            self._uncounted(1)
            return 0.0
        digests = [self._digest(group, limit.subject) for limit in limits]
        tag = f"{group}:{digests[0][0] % self._lanes_of_addresses}" if group == ADDRESSES else group
        lane = self._lanes.get(tag)
        if lane is None:
            lane = self._lanes[tag] = _Lane()
        if len(lane.waiting) >= WAITING_MAX:
            self._uncounted(1)
            return 0.0
        pending: Pending[float] = Pending(self._loop)
        keys = [f"headgate:limits:{{{tag}}}:{digest.hex()}" for digest in digests]
        lane.waiting.append((keys, limits, pending))
        if lane.under_way < CALLS_MAX and len(lane.waiting) == 1:
            lane.under_way += 1
            # At the end of this turn of the loop, so that what arrived together goes together.
            self._loop.call_soon(self._send, lane)
        return pending

    def _digest(self, group: str, subject: str) -> bytes:
        return hashlib.blake2b(f"{group}:{subject}".encode(), digest_size=12, key=self._key).digest()

    def _send(self, lane: _Lane) -> None:
        if not lane.waiting:
            lane.under_way -= 1
            return
        if self._loop.time() < self._away_until:
            lane.under_way -= 1
            let_through, lane.waiting = lane.waiting, []
            self._uncounted(len(let_through))
            for _, _, pending in let_through:
                pending.settle(0.0)
            return
        batch, lane.waiting = lane.waiting[:BATCH_MAX], lane.waiting[BATCH_MAX:]
        call = self._loop.create_task(self._ask(lane, batch))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _ask(self, lane: _Lane, batch: Sequence[Asked]) -> None:
        try:
            # So that calls of many lanes wait for a connection instead of failing for want of one.
            async with self._connections:
                waits = await self._call(batch)
        except Exception as error:  # noqa: BLE001 -- whatever it is, whoever waits has to be told
            # The first failure of a row says it.
            if self._loop.time() >= self._away_until + AWAY_S:
                _log.error("limits_not_counted", gate=str(self._address), error=str(error), kind=type(error).__name__)
            self._away_until = self._loop.time() + AWAY_S
            self._uncounted(len(batch))
            waits = [0] * len(batch)
            await self.close()
        # Not from here, inside a task: whoever is woken may be a task too.
        self._loop.call_soon(self._settle, lane, batch, waits)

    def _settle(self, lane: _Lane, batch: Sequence[Asked], waits: Sequence[int]) -> None:
        self._send(lane)
        for (_, _, pending), wait_ms in zip(batch, waits, strict=True):
            pending.settle(wait_ms / 1000)

    async def _call(self, batch: Sequence[Asked]) -> list[int]:
        keys = [key for asked, _, _ in batch for key in asked]
        arguments: list[Any] = [round(WINDOW_S * 1000)]
        for _, limits, _ in batch:
            arguments += [len(limits), *(limit.per_minute for limit in limits)]
        client = await self._open()
        try:
            waits: list[int] = await client.evalsha(SHA, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            # Not there yet, or lost in a restart or failover: nothing has been counted.
            waits = await client.eval(SCRIPT, len(keys), *keys, *arguments)
        return waits

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


class _Lane:
    """What goes to one slot together."""

    def __init__(self) -> None:
        self.waiting: list[Asked] = []
        self.under_way = 0
