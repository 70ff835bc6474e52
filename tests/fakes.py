"""Time and chance in the hands of a test; see `headgate.ports.clock` and `headgate.ports.entropy`."""

from __future__ import annotations

import random

import structlog
from structlog.typing import EventDict

NOON_MS = 1_796_097_600_000
"""1 December 2026, 12:00 in China."""


class HandClock:
    """Stands still until the test moves it."""

    def __init__(self, ms: int = NOON_MS) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        return self.ms

    def forward(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class SeededEntropy:
    """Bytes that are the same in every run."""

    def __init__(self, seed: int = 20261201) -> None:
        self._random = random.Random(seed)

    def token_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


def no_news(_logger: object, level: str, event: EventDict) -> EventDict:
    """For `capture_logs`: what only tells how things go is left out."""
    if level == "info":
        raise structlog.DropEvent
    return event
