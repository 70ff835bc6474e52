"""Requests per subject and minute, counted for all nodes on one Redis or Valkey, in batches."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache

from ...ports.limiter import ADDRESSES, WINDOW_S, Limit
from ...ports.pending import Pending
from .address import CLUSTER, GateAddress
from .client import AsyncClient
from .lanes import Lanes
from .scripts import Script

LANES = 4
"""Where a cluster counts what belongs to no campaign: in so many slots, on different servers."""

ASKED_KEPT = 16_384
"""Questions that are remembered as they are sent, 10 to 25 MB; as many as a worker has connections."""

_COUNT = Script("limits")

Asked = tuple[tuple[bytes, ...], tuple[bytes, ...]]
"""(keys, arguments) of one request"""


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
        self._asked_of = lru_cache(maxsize=ASKED_KEPT)(self._asked)

    def wait_s(self, group: str, limits: tuple[Limit, ...]) -> float | Pending[float]:
        tag, asked = self._asked_of(group, limits)
        return self._lanes.ask(tag, asked)

    def _asked(self, group: str, limits: tuple[Limit, ...]) -> tuple[str, Asked]:
        """(lane, what is asked there); the lane of the first limit, because what belongs to one group shares a lane."""
        digests = [
            hashlib.blake2b(f"{group}:{limit.subject}".encode(), digest_size=12, key=self._key).digest()
            for limit in limits
        ]
        tag = f"{group}:{digests[0][0] % self._lanes_of_addresses}" if group == ADDRESSES else group
        begin = f"headgate:limits:{{{tag}}}:".encode()
        keys = tuple(begin + digest for digest in digests)
        return tag, (keys, (b"%d" % len(limits), *(b"%d" % limit.per_minute for limit in limits)))

    def _let_through(self, batch: Sequence[Asked], _in_doubt: bool) -> list[float]:
        self._uncounted(len(batch))
        return [0.0] * len(batch)

    async def close(self) -> None:
        await self._lanes.close()


async def _count(client: AsyncClient, batch: Sequence[Asked]) -> list[float]:
    keys: list[bytes] = []
    arguments = [b"%d" % round(WINDOW_S * 1000)]
    for own_keys, own_arguments in batch:
        keys += own_keys
        arguments += own_arguments
    return [wait_ms / 1000 for wait_ms in await _COUNT.run_async(client, keys, arguments)]
