"""Requests per subject and minute, counted for all nodes on one Redis or Valkey, in batches."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import chain, groupby
from operator import itemgetter

from ...ports.limiter import ADDRESSES, WINDOW_S, Limit
from ...ports.pending import Pending
from .address import CLUSTER, GateAddress
from .calls import Calls
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


class CounterKeys:
    """The keys under which requests are counted."""

    def __init__(self, address: GateAddress, key: bytes) -> None:
        """`key` keeps addresses and persons unreadable there."""
        self._lanes_of_addresses = LANES if address.kind == CLUSTER else 1
        self._key = hashlib.blake2b(key, digest_size=32, person=b"hg-limits").digest()
        # Whoever comes once comes again within a moment: a page, a session, a claim, and what came of it.
        self.of_address = lru_cache(maxsize=ASKED_KEPT)(self._of_address)

    def of(self, group: str, subjects: Sequence[str]) -> tuple[str, list[bytes]]:
        """(lane, keys); the lane of the first subject, because what belongs to one group shares a lane."""
        digests = [
            hashlib.blake2b(f"{group}:{subject}".encode(), digest_size=12, key=self._key).digest()
            for subject in subjects
        ]
        tag = f"{group}:{digests[0][0] % self._lanes_of_addresses}" if group == ADDRESSES else group
        begin = f"headgate:limits:{{{tag}}}:".encode()
        return tag, [begin + digest for digest in digests]

    def _of_address(self, address: str) -> bytes:
        return self.of(ADDRESSES, [address])[1][0]


class RedisLimiter:
    """See `headgate.ports.limiter.Limiter`.  Owned by one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: GateAddress,
        key: bytes,
        uncounted: Callable[[int], None],
    ) -> None:
        """`key` is that of `CounterKeys`; `uncounted` is told how many were let through."""
        self._lanes: Lanes[Asked, float] = Lanes(loop, address, _count, self._let_through, "limits_not_counted")
        self._counters = CounterKeys(address, key)
        self._uncounted = uncounted
        # As they are sent, for the reason that is given above.
        self._asked_of = lru_cache(maxsize=ASKED_KEPT)(self._asked)

    def wait_s(self, group: str, limits: tuple[Limit, ...]) -> float | Pending[float]:
        tag, asked = self._asked_of(group, limits)
        return self._lanes.ask(tag, asked)

    def _asked(self, group: str, limits: tuple[Limit, ...]) -> tuple[str, Asked]:
        """Lane, and what is asked there."""
        tag, keys = self._counters.of(group, [limit.subject for limit in limits])
        return tag, (tuple(keys), (b"%d" % len(limits), *(b"%d" % limit.per_minute for limit in limits)))

    def _let_through(self, batch: Sequence[Asked], _in_doubt: bool) -> list[float]:
        self._uncounted(len(batch))
        return [0.0] * len(batch)

    async def close(self) -> None:
        await self._lanes.close()


async def _count(client: AsyncClient, batch: Sequence[Asked]) -> list[float]:
    keys: list[bytes] = []
    arguments = [_window_ms()]
    for own_arguments, alike in groupby(batch, itemgetter(1)):
        own_keys = [asked[0] for asked in alike]
        arguments.append(b"%d" % len(own_keys))
        arguments += own_arguments
        keys += chain.from_iterable(own_keys)
    return [wait_ms / 1000 for wait_ms in await _COUNT.run_async(client, keys, arguments)]


class RedisCounts:
    """See `headgate.ports.strangers.Counts`: the same counts, by calls that block.  Owned by one thread."""

    def __init__(self, address: GateAddress) -> None:
        self._calls = Calls(address)
        self._spread = address.kind == CLUSTER

    def count(self, counters: Sequence[bytes], per_minute: int) -> list[int]:
        if not self._spread:
            return self._count(counters, per_minute)
        lanes: dict[bytes, list[int]] = {}
        for index, counter in enumerate(counters):
            lanes.setdefault(counter[: counter.index(b"}")], []).append(index)
        waits = [0] * len(counters)
        for indexes in lanes.values():
            found = self._count([counters[index] for index in indexes], per_minute)
            for index, wait_ms in zip(indexes, found, strict=True):
                waits[index] = wait_ms
        return waits

    def _count(self, counters: Sequence[bytes], per_minute: int) -> list[int]:
        """Of one lane."""
        arguments = [_window_ms(), b"%d" % len(counters), b"1", b"%d" % per_minute]
        found: list[int] = self._calls.call(partial(_COUNT.run, keys=counters, arguments=arguments))
        return found

    def close(self) -> None:
        self._calls.close()


def _window_ms() -> bytes:
    return b"%d" % round(WINDOW_S * 1000)
