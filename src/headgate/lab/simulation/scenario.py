"""What a seed decides, and the clock, entropy and telemetry of a simulated run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import msgspec

from ...ports.limiter import Limit

START_MS = 1_800_000_000_000
WINDOW_MS = 40_000


class Scenario(msgspec.Struct, frozen=True):
    """What a seed decides before the run begins."""

    workers: int
    persons: int
    pools: dict[str, int]
    per_person: int
    fault_rate: float
    skew_ms: int
    keyed: float
    repeats: float
    shared_gate: bool
    receivers_account: bool
    queued: bool

    @staticmethod
    def of(rng: random.Random) -> Scenario:
        pools = {f"p{number}": rng.choice([0, 1, 2, 3, 8]) for number in range(rng.randint(1, 4))}
        return Scenario(
            workers=rng.choice([1, 1, 2, 3]),
            persons=rng.randint(2, 24),
            pools=pools,
            per_person=rng.choice([1, 1, 1, 2]),
            fault_rate=rng.choice([0.0, 0.05, 0.2, 0.4]),
            skew_ms=rng.choice([0, 0, 1_000, 5_000]),
            keyed=rng.choice([0.0, 0.5, 1.0]),
            repeats=rng.choice([0.0, 0.3, 0.8]),
            shared_gate=rng.random() < 0.5,
            receivers_account=rng.random() < 0.5,
            queued=rng.random() < 0.3,
        )


FAULTS = (
    "crash_before",
    "crash_after",
    "unavailable",
    "doubt_before",
    "doubt_after",
    "broken_after",
    "statement",
    "statement",
)


class SimulatedClock:
    """The loop's time as wall time; `skew_ms` makes a worker's clock wrong."""

    def __init__(self, loop: asyncio.AbstractEventLoop, skew_ms: int = 0) -> None:
        self._loop = loop
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        return START_MS + round(self._loop.time() * 1000) + self.skew_ms


class SeededEntropy:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def token_bytes(self, count: int) -> bytes:
        return self._rng.randbytes(count)


class NoLimiter:
    """Nobody is counted."""

    def wait_s(self, group: str, limits: tuple[Limit, ...]) -> float:  # noqa: ARG002 -- the port
        return 0.0

    def count(self, counters: Sequence[bytes], per_minute: int) -> list[int]:  # noqa: ARG002 -- the port
        return [0] * len(counters)


class Silence:
    """Telemetry that nobody reads."""

    def request(self, route: str, outcome: str, seconds: float) -> None: ...

    def claim(self, campaign: str, outcome: str, seconds: float) -> None: ...

    def decided(self, campaign: str, outcome: str) -> None: ...

    def gate(self, seconds: float) -> None: ...

    def batch(self, size: int, seconds: float) -> None: ...

    def waited(self, seconds: float) -> None: ...

    def paused(self, seconds: float) -> None: ...

    def uncounted(self, requests: int) -> None: ...
