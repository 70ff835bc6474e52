"""What one process does for several ledgers at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from ..services.nodes import Reporter

REPORT_EVERY_S = 0.5
"""How often it is looked whether a report is due."""


def report_until(stopping: threading.Event, report: Reporter) -> None:
    """Say that this plane is there, until it is not."""
    while not stopping.is_set():
        report.tell()
        stopping.wait(REPORT_EVERY_S)


def run_beside_each_other(works: Sequence[Callable[[], None]], stopping: threading.Event) -> None:
    """Each in a thread, until all return; where one fails all are told to stop, and what it raised is raised."""
    with ThreadPoolExecutor(len(works)) as threads:
        running = [threads.submit(work) for work in works]
        wait(running, return_when=FIRST_EXCEPTION)
        stopping.set()
    for work in running:
        work.result()
