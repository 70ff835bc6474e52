"""A node's end of a simulated queue, and the consumers at the other one, which fail on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from ...domain.claim import ClaimRequest, Granted
from ...domain.outcome import UNKNOWN, Refusal
from ...ports.ledger import BatchResult, DecidingLedger, LedgerBroken, LedgerInDoubt, LedgerUnavailable
from ...ports.pending import Pending
from ...ports.queue import Enqueued, QueueState, Taken, Waiting, WaitingClaims, Which
from ...services.consuming import Consumer
from .faults import FaultyConnection
from .scenario import Silence
from .surroundings import Surroundings, behind_gate


class Killed(BaseException):
    """kill -9, as the process itself would feel it."""


class FarQueue:
    """The queue as a node reaches it: after a while, and now and then it is not known what became of a call."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world

    def put(self, request: ClaimRequest) -> Pending[Enqueued]:
        pending: Pending[Enqueued] = Pending(self._world.loop)
        self._world.loop.call_later(self._world.delay(), self._put, request, pending)
        return pending

    def _put(self, request: ClaimRequest, pending: Pending[Enqueued]) -> None:
        world = self._world
        fault = world.pick_fault()
        # The call, or its answer, is lost.
        told: Enqueued = UNKNOWN if fault == "doubt_before" else world.queue.put(request)
        if fault == "doubt_after":
            told = UNKNOWN
        world.loop.call_later(world.delay(), pending.settle, told)

    async def state_of(self, campaign_id: int, person: bytes) -> QueueState:
        await asyncio.sleep(self._world.delay())
        state = await self._world.queue.state_of(campaign_id, person)
        await asyncio.sleep(self._world.delay())
        return state


class _TroubledLedger:
    """What a consumer decides with; it fails before, inside or after its work."""

    def __init__(self, world: Surroundings, ledger: DecidingLedger, connection: FaultyConnection) -> None:
        self._world = world
        self._ledger = ledger
        self._connection = connection

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        world = self._world
        fault = world.pick_fault()
        if fault == "crash_before":
            raise Killed
        if fault == "unavailable":
            raise LedgerUnavailable("injected")
        if fault == "doubt_before":
            raise LedgerInDoubt("injected")
        if fault == "statement":
            self._connection.arm(world.rng)
        try:
            result = self._ledger.confirm(batch, fresh)
        finally:
            self._connection.disarm()
            world.judge.after_commit(world.loop.time(), world.control)
        if fault == "crash_after":
            raise Killed
        if fault == "doubt_after":
            raise LedgerInDoubt("injected")
        if fault == "broken_after":
            raise LedgerBroken("injected")
        return result

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


class _SlowToSettle:
    """What was decided reaches the queue a little later, so that others see what lies between."""

    def __init__(self, world: Surroundings, queue: WaitingClaims) -> None:
        self._world = world
        self._queue = queue

    def take(self, campaign_id: int, which: Which, limit: int) -> Taken:
        return self._queue.take(campaign_id, which, limit)

    def settle(self, campaign_id: int, decided: Sequence[tuple[Waiting, Granted | Refusal]]) -> None:
        # Whether the queue is there is asked now, and told now.
        self._queue.settle(campaign_id, ())
        self._world.loop.call_later(self._world.delay(), partial(self._settle, campaign_id, decided))

    def _settle(self, campaign_id: int, decided: Sequence[tuple[Waiting, Granted | Refusal]]) -> None:
        away, self._world.queue.away = self._world.queue.away, False
        self._queue.settle(campaign_id, decided)
        self._world.queue.away = away

    def close(self) -> None: ...


class ConsumerProcess:
    """It is started again some time after it died."""

    def __init__(self, world: Surroundings, number: int) -> None:
        self._world = world
        self._name = f"consumer-{number}"
        self._connection: FaultyConnection
        self._consumer: Consumer

    def start(self) -> None:
        world = self._world
        claims = world.parts.make_claims(world.path, world.authority, world.entropy)
        self._connection = FaultyConnection(claims._connection)
        claims._connection = self._connection  # type: ignore[assignment]
        self._consumer = world.parts.make_consumer(
            world.campaigns,
            claims,
            _TroubledLedger(world, behind_gate(world, claims)[0], self._connection),
            _SlowToSettle(world, world.queue.consumer(self._name)),
            Silence(),
            world.authority,
            world.loop.time,
        )
        self._turn()

    def close(self) -> None:
        self._connection.close()

    def _turn(self) -> None:
        world = self._world
        try:
            pause_s = self._consumer.turn()
        except (Killed, LedgerBroken):
            self._connection.close()
            world.loop.call_later(world.rng.uniform(0.2, 2.0), self.start)
            return
        world.loop.call_later(max(pause_s, world.delay()), self._turn)
