"""A queue from both ends, in the hands of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import pytest

from headgate.domain.claim import Claim, ClaimRequest, Granted, Status
from headgate.domain.outcome import Refusal
from headgate.lab.simulation.queue import ABANDONED_S, SimulatedQueue
from headgate.ports.pending import Pending
from headgate.ports.queue import ClaimQueue, Enqueued, QueueState, Taken, Waiting, WaitingClaims, Which
from headgate.storage.redis import queue as redis_queue
from headgate.storage.redis.address import GateAddress
from headgate.storage.redis.queue import RedisQueue, RedisWaitingClaims
from tests.fakes import SeededEntropy

CAMPAIGN = 7
NOTHING = QueueState(False)
PENDING = QueueState(True)


def person(number: int) -> bytes:
    return number.to_bytes(16, "big")


def request(number: int, pool: int = 1, key: str = "", body: str = "b", campaign: int = CAMPAIGN) -> ClaimRequest:
    if not key:
        return ClaimRequest(campaign, pool, person(number))
    return ClaimRequest(campaign, pool, person(number), key.encode() * 16, body.encode() * 16)


def granted(number: int = 1) -> Granted:
    return Granted(Claim(f"{number:030x}", number, "a", 1, Status.CONFIRMED, "CODE", 0), repeated=False)


class Bench(Protocol):
    """One queue, from both ends."""

    loop: asyncio.AbstractEventLoop
    queue: ClaimQueue

    def consumer(self, name: str) -> WaitingClaims: ...

    def time_passes(self) -> None:
        """Long enough for what was taken to be abandoned."""

    def close(self) -> None: ...


class SimulatedBench:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._now = 0.0
        self._simulated = SimulatedQueue(lambda: self._now, SeededEntropy())
        self.queue: ClaimQueue = self._simulated

    def consumer(self, name: str) -> WaitingClaims:
        return self._simulated.consumer(name)

    def time_passes(self) -> None:
        self._now += ABANDONED_S

    def close(self) -> None:
        self.loop.close()


class RedisBench:
    def __init__(
        self,
        address: GateAddress,
        monkeypatch: pytest.MonkeyPatch,
        *,
        ledger: int = 1,
        length_max: int = 1_000,
        which: Callable[[], int] | None = None,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.address = address
        self._redis = RedisQueue(self.loop, address, which or (lambda: ledger), SeededEntropy(), length_max)
        self.queue: ClaimQueue = self._redis
        self._ledger = ledger
        self._monkeypatch = monkeypatch
        self._consumers: list[WaitingClaims] = []

    def consumer(self, name: str) -> WaitingClaims:
        made = RedisWaitingClaims(self.address, lambda: self._ledger, name)
        self._consumers.append(made)
        return made

    def time_passes(self) -> None:
        self._monkeypatch.setattr(redis_queue, "ABANDONED_S", 0.0)

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()
        self.loop.run_until_complete(self._redis.close())
        self.loop.close()


def put(bench: Bench, *requests: ClaimRequest) -> list[Enqueued]:
    """All of them in one turn of the event loop."""

    async def together() -> list[Enqueued]:
        asked = [bench.queue.put(item) for item in requests]
        return [await one if isinstance(one, Pending) else one for one in asked]

    return bench.loop.run_until_complete(together())


def state(bench: Bench, number: int, campaign: int = CAMPAIGN) -> QueueState:
    return bench.loop.run_until_complete(bench.queue.state_of(campaign, person(number)))


def take(consumer: WaitingClaims, which: Which = Which.NEW, limit: int = 100, campaign: int = CAMPAIGN) -> Taken:
    return consumer.take(campaign, which, limit)


def persons(taken: Taken) -> list[int]:
    return [int.from_bytes(waiting.request.person, "big") for waiting in taken.waiting]


def settle(consumer: WaitingClaims, waiting: Sequence[Waiting], decision: Granted | Refusal) -> None:
    consumer.settle(CAMPAIGN, [(one, decision) for one in waiting])
