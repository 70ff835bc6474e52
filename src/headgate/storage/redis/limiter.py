"""Requests per subject and minute, counted for all nodes on one Redis or Valkey, in batches."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from ...ports.limiter import ADDRESSES, WINDOW_S, Limit
from ...ports.pending import Pending
from .address import CLUSTER, GateAddress
from .client import AsyncClient
from .lanes import Lanes
from .scripts import Script

LANES = 4
"""Where a cluster counts what belongs to no campaign: in so many slots, on different servers."""

PLACES_KEPT = 16_384
"""Subjects whose keys are remembered, some 5 MB; as many as a worker has connections."""

_COUNT = Script("limits")

Asked = tuple[Sequence[bytes], Sequence[Limit]]
"""(keys, limits) of one request"""


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
        self._lanes: Lanes[Asked, float] = Lanes(loop, address, _count, self._let_through, "limits_not_counted")
        self._lanes_of_addresses = LANES if address.kind == CLUSTER else 1
        self._key = hashlib.blake2b(key, digest_size=32, person=b"hg-limits").digest()
        self._uncounted = uncounted
        # Whoever comes once comes again within a moment: a page, a session, a claim, and what came of it.
        self._place_of = lru_cache(maxsize=PLACES_KEPT)(self._place)

    def wait_s(self, group: str, limits: Sequence[Limit]) -> float | Pending[float]:
        tag, first = self._place_of(group, limits[0].subject)
        keys = [first, *(self._place_of(group, limit.subject)[1] for limit in limits[1:])]
        return self._lanes.ask(tag, (keys, limits))

    def _place(self, group: str, subject: str) -> tuple[str, bytes]:
        """(lane, key); of the first of several, because what belongs to one group shares a lane."""
        digest = hashlib.blake2b(f"{group}:{subject}".encode(), digest_size=12, key=self._key).digest()
        tag = f"{group}:{digest[0] % self._lanes_of_addresses}" if group == ADDRESSES else group
        return tag, f"headgate:limits:{{{tag}}}:".encode() + digest

    def _let_through(self, batch: Sequence[Asked], _in_doubt: bool) -> list[float]:
        self._uncounted(len(batch))
        return [0.0] * len(batch)

    async def close(self) -> None:
        await self._lanes.close()


async def _count(client: AsyncClient, batch: Sequence[Asked]) -> list[float]:
    keys = [key for asked, _ in batch for key in asked]
    arguments: list[Any] = [round(WINDOW_S * 1000)]
    for _, limits in batch:
        arguments += [len(limits), *(limit.per_minute for limit in limits)]
    return [wait_ms / 1000 for wait_ms in await _COUNT.run_async(client, keys, arguments)]
