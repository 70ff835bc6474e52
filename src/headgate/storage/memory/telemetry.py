"""Counts of one process, as plain dictionaries: a count on the hot path costs less than a tenth of a microsecond."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ...ports.telemetry import GATE_BUCKETS, SECONDS_BUCKETS, SIZE_BUCKETS


class _Histogram:
    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._buckets, value)] += 1
        self.total += value


class Counters:
    """See `headgate.ports.telemetry.Telemetry`."""

    def __init__(self, plane: str) -> None:
        self._plane = plane
        self._requests: dict[tuple[str, str], int] = defaultdict(int)
        self._claims: dict[tuple[str, str], int] = defaultdict(int)
        self._decided: dict[tuple[str, str], int] = defaultdict(int)
        self._seconds = _Histogram(SECONDS_BUCKETS)
        self._batch_size = _Histogram(SIZE_BUCKETS)
        self._gate_seconds = _Histogram(GATE_BUCKETS)
        self._commit_seconds = _Histogram(SECONDS_BUCKETS)
        self._wait_seconds = _Histogram(SECONDS_BUCKETS)
        self._pause_seconds = _Histogram(SECONDS_BUCKETS)
        self._uncounted = 0
        self._gauges: dict[str, float] = {}
        self._replicas: dict[str, int] = {}
        self._ledger_looks = 0
        self._shared_looks = 0

    def request(self, route: str, outcome: str, seconds: float) -> None:
        self._requests[route, outcome] += 1
        self._seconds.observe(seconds)

    def claim(self, campaign: str, outcome: str, seconds: float) -> None:
        self._claims[campaign, outcome] += 1
        self._seconds.observe(seconds)

    def decided(self, campaign: str, outcome: str) -> None:
        self._decided[campaign, outcome] += 1

    def gate(self, seconds: float) -> None:
        self._gate_seconds.observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        self._batch_size.observe(size)
        self._commit_seconds.observe(seconds)

    def waited(self, seconds: float) -> None:
        self._wait_seconds.observe(seconds)

    def paused(self, seconds: float) -> None:
        self._pause_seconds.observe(seconds)

    def uncounted(self, requests: int) -> None:
        self._uncounted += requests

    def gauge(self, name: str, value: float) -> None:
        self._gauges[name] = value

    def replicas(self, in_use: Mapping[str, bool]) -> None:
        """Whether this process reads from each replica, by its name."""
        self._replicas = {name: int(used) for name, used in in_use.items()}

    def looks(self, ledger: int, shared: int) -> None:
        """How many looks this process has made since it began, and taken over from others."""
        self._ledger_looks, self._shared_looks = ledger, shared

    def snapshot(self) -> dict[str, Any]:
        """Everything counted so far, ready for JSON; see `headgate.console.metrics` for the reader."""
        # Copied in one step each, because the loop goes on counting while another thread publishes.
        claims, decided = list(self._claims.items()), list(self._decided.items())
        requests = defaultdict(int, self._requests)
        for (_, outcome), count in claims:
            requests["claims", outcome] += count
        return {
            "plane": self._plane,
            "requests": [[*key, count] for key, count in requests.items()],
            "claims": [[*key, count] for key, count in claims + decided],
            "histograms": {
                "headgate_request_seconds": [self._seconds.counts, self._seconds.total],
                "headgate_batch_size": [self._batch_size.counts, self._batch_size.total],
                "headgate_gate_seconds": [self._gate_seconds.counts, self._gate_seconds.total],
                "headgate_ledger_commit_seconds": [self._commit_seconds.counts, self._commit_seconds.total],
                "headgate_ledger_wait_seconds": [self._wait_seconds.counts, self._wait_seconds.total],
                "headgate_gc_pause_seconds": [self._pause_seconds.counts, self._pause_seconds.total],
            },
            "gauges": self._gauges,
            "replicas": self._replicas,
            "counts": {
                "headgate_uncounted_requests_total": self._uncounted,
                "headgate_ledger_looks_total": self._ledger_looks,
                "headgate_shared_looks_total": self._shared_looks,
            },
        }
