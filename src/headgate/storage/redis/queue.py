"""The queue of a campaign on Redis or Valkey: a stream, and a hash for each person who waits.

All of a campaign lies under one tag, so that what arrived together is one call to one server.  Theory of operation: the
stream alone says what waits.  A person's hash only leads there, so no eviction or failover leaves somebody waiting for
a request that is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from ...domain.claim import QUEUED, ClaimRequest, Granted
from ...domain.outcome import KEY_REUSED, QUEUE_FULL, QUEUE_UNAVAILABLE, UNKNOWN, Refusal
from ...ports.entropy import Entropy
from ...ports.pending import Pending
from ...ports.queue import Enqueued, QueueState, Taken, Waiting, Which
from .address import GateAddress
from .calls import Calls, campaign_key
from .client import AsyncClient
from .lanes import Lanes
from .scripts import Script

LENGTH_MAX = 200_000
"""Requests of one campaign that may wait: 50 MB there, and some seconds of a consumer."""
UNDECIDED_MAX = 10
"""Of one person: whoever sends many different requests must not keep others out."""
KEPT_MS = 86_400_000
"""A day after the last request of a campaign nothing of its queue is left."""
REFUSAL_KEPT_MS = 3_600_000
"""How long somebody may take to look how it went; then they find nothing, and ask again."""
ABANDONED_S = 5.0
"""A batch takes milliseconds; where its consumer is not dead but slow, it is decided twice, which does no harm."""

_GROUP = "consumers"
_PUT, _STATE, _TAKE, _SETTLE = (Script(f"queue_{name}") for name in ("put", "state", "take", "settle"))
_ANSWERS: dict[bytes, Enqueued] = {b"queued": QUEUED, b"reused": KEY_REUSED, b"full": QUEUE_FULL}
_NO_BODY = bytes(16)
_AWAY = QueueState(None)


class _Put(NamedTuple):
    campaign_id: int
    fields: tuple[bytes, bytes, int, bytes, bytes]
    """person, mark, pool, key, body"""


def _person_key(ledger_id: int, campaign_id: int, person: bytes) -> str:
    return campaign_key(ledger_id, campaign_id, f"waiting:{person.hex()}")


def _stream(ledger_id: int, campaign_id: int) -> str:
    return campaign_key(ledger_id, campaign_id, "queue")


class RedisQueue:
    """See `headgate.ports.queue.ClaimQueue`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: GateAddress,
        ledger_id: Callable[[], int],
        entropy: Entropy,
        length_max: int = LENGTH_MAX,
    ) -> None:
        """`ledger_id` tells ledgers apart that use the same server; it blocks, and is asked when it is needed."""
        self._loop = loop
        self._ask_ledger_id = ledger_id
        self._ledger_id: int | None = None
        self._entropy = entropy
        self._length_max = length_max
        self._puts: Lanes[_Put, Enqueued] = Lanes(loop, address, self._put_all, _not_put, "not_queued")
        self._looks: Lanes[tuple[int, bytes], QueueState] = Lanes(
            loop, address, self._look_up, lambda batch, _: [_AWAY] * len(batch), "queue_not_read"
        )

    def put(self, request: ClaimRequest) -> Enqueued | Pending[Enqueued]:
        key, body = request.key_digest, request.body_digest
        if key is None or body is None:
            # A key of its own, so that deciding it twice, after its claim was cancelled too, makes no second claim.
            mark, key, body = b"p%d" % request.pool_id, self._entropy.token_bytes(16), _NO_BODY
        else:
            mark = b"k" + key
        item = _Put(request.campaign_id, (request.person, mark, request.pool_id, key, body))
        return self._puts.ask(str(request.campaign_id), item)

    async def state_of(self, campaign_id: int, person: bytes) -> QueueState:
        asked = self._looks.ask(str(campaign_id), (campaign_id, person))
        return await asked if isinstance(asked, Pending) else asked

    async def _put_all(self, client: AsyncClient, batch: Sequence[_Put]) -> list[Enqueued]:
        campaign_id = batch[0].campaign_id
        ledger_id = await self._ledger()
        keys = [_stream(ledger_id, campaign_id)]
        arguments: list[Any] = [_GROUP, self._length_max, UNDECIDED_MAX, KEPT_MS]
        for put in batch:
            keys.append(_person_key(ledger_id, campaign_id, put.fields[0]))
            arguments += put.fields
        return [_ANSWERS[answer] for answer in await _PUT.run_async(client, keys, arguments)]

    async def _look_up(self, client: AsyncClient, batch: Sequence[tuple[int, bytes]]) -> list[QueueState]:
        campaign_id = batch[0][0]
        ledger_id = await self._ledger()
        keys = [_stream(ledger_id, campaign_id)]
        keys += [_person_key(ledger_id, campaign_id, person) for _, person in batch]
        return [_state(found) for found in await _STATE.run_async(client, keys, ())]

    async def _ledger(self) -> int:
        if self._ledger_id is None:
            self._ledger_id = await self._loop.run_in_executor(None, self._ask_ledger_id)
        return self._ledger_id

    async def close(self) -> None:
        await self._puts.close()
        await self._looks.close()


def _not_put(batch: Sequence[_Put], in_doubt: bool) -> list[Enqueued]:
    return [UNKNOWN if in_doubt else QUEUE_UNAVAILABLE] * len(batch)


def _state(found: bytes) -> QueueState:
    if found == b"pending":
        return QueueState(True)
    if not found:
        return QueueState(False)
    pool_id, outcome, reason = found.decode("ascii").split(" ")
    return QueueState(False, outcome, reason, int(pool_id))


class RedisWaitingClaims:
    """See `headgate.ports.queue.WaitingClaims`."""

    def __init__(self, address: GateAddress, ledger_id: Callable[[], int], consumer: str) -> None:
        """`consumer` stays the same over restarts, so that what it took is its own again; two of one name do no harm.

        `ledger_id` as for `RedisQueue`.
        """
        self._calls = Calls(address)
        self._ledger_id = cache(ledger_id)
        self._consumer = consumer

    def take(self, campaign_id: int, which: Which, limit: int) -> Taken:
        keys = [_stream(self._ledger_id(), campaign_id)]
        arguments = [_GROUP, self._consumer, str(which), round(ABANDONED_S * 1000), limit]
        length, first, *handed = self._calls.call(lambda client: _TAKE.run(client, keys, arguments))
        waiting = [
            Waiting(place, mark, ClaimRequest(campaign_id, int(pool_id), person, key, body))
            for place, person, mark, pool_id, key, body in handed
        ]
        # Two machines' clocks; for a gauge that is near enough.
        age_s = max(0.0, time.time() - int(first.partition(b"-")[0]) / 1000) if first else 0.0
        return Taken(waiting, length, age_s)

    def settle(self, campaign_id: int, decided: Sequence[tuple[Waiting, Granted | Refusal]]) -> None:
        if not decided:
            return
        ledger_id = self._ledger_id()
        keys = [_stream(ledger_id, campaign_id)]
        arguments: list[Any] = [_GROUP, REFUSAL_KEPT_MS]
        for waiting, decision in decided:
            keys.append(_person_key(ledger_id, campaign_id, waiting.request.person))
            arguments += [waiting.place, waiting.mark, _text(waiting.request.pool_id, decision)]
        self._calls.call(lambda client: _SETTLE.run(client, keys, arguments))

    def close(self) -> None:
        self._calls.close()


def _text(pool_id: int, decision: Granted | Refusal) -> str:
    """What `_state` reads."""
    return "" if isinstance(decision, Granted) else f"{pool_id} {decision.outcome} {decision.reason or ''}"
