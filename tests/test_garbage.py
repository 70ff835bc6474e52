"""Pauses of the garbage collector are measured, and long ones said."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from headgate.bootstrap.garbage import LONG_S, Pauses
from headgate.storage.memory.telemetry import Counters


@pytest.fixture
def counters() -> Counters:
    return Counters("participant")


def measured(counters: Counters) -> list[float]:
    """How many pauses, and how long all of them took (s)."""
    counts, total = counters.snapshot()["histograms"]["headgate_gc_pause_seconds"]
    return [sum(counts), total]


def test_a_pause_is_counted_and_a_long_one_said(counters: Counters) -> None:
    times: Iterator[float] = iter([1.0, 1.001, 0.0, LONG_S])
    pauses = Pauses(counters, times.__next__)
    with capture_logs() as logs:
        for generation, freed in ((0, 3), (2, 700)):
            pauses("start", {"generation": generation, "collected": 0, "uncollectable": 0})
            pauses("stop", {"generation": generation, "collected": freed, "uncollectable": 0})
    assert logs == [
        {"event": "gc_pause", "log_level": "warning", "seconds": LONG_S, "generation": 2, "freed": 700},
    ]
    assert measured(counters) == pytest.approx([2, 0.001 + LONG_S])


def test_the_collector_itself_tells_of_its_pauses(counters: Counters) -> None:
    pauses = Pauses(counters)
    gc.callbacks.append(pauses)
    try:
        gc.collect(0)
    finally:
        gc.callbacks.remove(pauses)
    assert measured(counters)[0] >= 1
