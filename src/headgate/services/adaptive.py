"""A concurrency limit that follows measured latency.

Theory of operation.  A ledger that commits B claims a second answers N claims in progress after N / B seconds, so
latency tells when there are more of them than it can carry.  The limit grows by a step while claims are answered in
time and there are enough to use it, and shrinks by a part where they are not: additive increase, multiplicative
decrease, which settles near the target whatever the ledger's speed, and shares fairly where several workers feel the
same ledger (Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer
Networks", 1989).
"""

from __future__ import annotations

from collections.abc import Callable

START = 350
"""Before anything has been measured: what is used where nothing adapts."""

PERMITS_MIN = 16
"""Below this, batches are so small that a ledger would do less in a second than it can."""

PERMITS_MAX = 4_096
"""Of a worker: some 20 MB of requests, and eight of the largest batches."""

TARGET_S = 0.1
"""People do not feel a tenth of a second; and where a commit takes longer, nothing that is done here helps."""

WINDOW_S = 0.1
"""As often the limit changes: some batches have been answered by then, and a launch is felt within a second."""

STEP = 10
CUT = 0.9

USED = 0.8
"""A limit that nobody comes near says nothing about what would happen at a higher one."""


class AdaptiveLimit:
    """Of one worker and one ledger; owned by one event loop."""

    def __init__(self, clock_s: Callable[[], float], apply: Callable[[int], None]) -> None:
        """`clock_s` never steps (seconds); `apply` is told every new limit."""
        self._clock_s = clock_s
        self._apply = apply
        self._permits = float(START)
        self._until_s = 0.0
        self._total_s = 0.0
        self._count = 0
        self._most = 0

    def measured(self, latency_s: float, in_progress: int) -> None:
        """A batch was settled: how long its first claim has waited, and how many were in progress then."""
        self._total_s += latency_s
        self._count += 1
        self._most = max(self._most, in_progress)
        now_s = self._clock_s()
        if now_s < self._until_s:
            return
        mean_s = self._total_s / self._count
        if mean_s > TARGET_S:
            self._permits = max(PERMITS_MIN, self._permits * CUT)
        elif self._most >= USED * self._permits:
            self._permits = min(PERMITS_MAX, self._permits + STEP)
        self._until_s = now_s + WINDOW_S
        self._total_s, self._count, self._most = 0.0, 0, 0
        self._apply(int(self._permits))
