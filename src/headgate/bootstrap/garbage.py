"""The garbage collector of a worker: how often it looks, and how long it stops everything when it does."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from ..ports.telemetry import Telemetry

THRESHOLDS = (50_000, 20, 50)
"""Requests in progress hold some thousand objects for milliseconds; the default of 700 would look through
them dozens of times and find nothing."""

LONG_S = 0.05
"""A pause that participants could notice; the log says each of them."""

_log = structlog.get_logger("headgate")


class Pauses:
    """For `gc.callbacks` (https://docs.python.org/3/library/gc.html#gc.callbacks)."""

    def __init__(self, telemetry: Telemetry, clock_s: Callable[[], float] = time.perf_counter) -> None:
        self._telemetry = telemetry
        self._clock_s = clock_s
        self._began_s = 0.0

    def __call__(self, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "start":
            self._began_s = self._clock_s()
            return
        seconds = self._clock_s() - self._began_s
        self._telemetry.paused(seconds)
        if seconds >= LONG_S:
            _log.warning("gc_pause", seconds=round(seconds, 3), generation=info["generation"], freed=info["collected"])


def set_up_collector(telemetry: Telemetry) -> None:
    """Call it when everything is built: what there is by then lives as long as the process, and is not looked at."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.callbacks.append(Pauses(telemetry))
