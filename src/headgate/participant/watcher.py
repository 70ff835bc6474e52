"""A worker's second thread: brings changes of campaigns and stock to the event loop, publishes metrics."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable

import structlog

from ..ports.ledger import LedgerUnavailable
from ..services.book import REFRESH_S, CampaignBook, News, Refresher

METRICS_EVERY_S = 1.0

STALE_S = 5.0
"""A worker that has not heard from the ledger for so long may be serving what an operator has ended."""

_log = structlog.get_logger("headgate.participant")


class Watcher:
    """`refresher` belongs to this thread alone; `publish_metrics` is called about once a second."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        refresher: Refresher,
        book: CampaignBook,
        publish_metrics: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._refresher = refresher
        self._book = book
        self._publish_metrics = publish_metrics
        self._looked_s = -STALE_S
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watcher", daemon=True)

    def start(self) -> None:
        """Load everything once, before the first request, then watch.

        Where the ledger is away everybody is told to come again, until it is back.  Raises LedgerError where it
        is there and cannot be served from.
        """
        try:
            self._take(self._refresher.look(), time.monotonic())
        except LedgerUnavailable as error:
            self._failed(error)
        self._thread.start()

    def current(self) -> bool:
        """Whether what is served is as new as it should be."""
        return time.monotonic() - self._looked_s < STALE_S

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        metrics_due = time.monotonic()
        while not self._stopping.wait(REFRESH_S):
            try:
                look = self._refresher.look()
                self._loop.call_soon_threadsafe(self._take, look, time.monotonic())
                if self._failing:
                    self._failing = False
                    _log.info("refreshed_again")
            except Exception as error:  # noqa: BLE001 -- whatever it is, a thread that ends would never look again
                self._failed(error)
            if self._publish_metrics is not None and time.monotonic() >= metrics_due:
                metrics_due += METRICS_EVERY_S
                self._publish_metrics()

    def _take(self, look: Iterable[News], looked_s: float) -> None:
        """On the event loop: only what has been taken over is served."""
        self._book.take_all(look)
        self._looked_s = looked_s

    def _failed(self, error: Exception) -> None:
        """What is known stays in use; the first failure of a row is said, not each of them."""
        if not self._failing:
            _log.error("refresh_failed", error=str(error), kind=type(error).__name__)
        self._failing = True
