"""The consumer's process."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from functools import partial
from pathlib import Path

from ..services import metrics_files
from ..services.consuming import Consumer
from ..settings import Settings
from ..storage.memory.telemetry import Counters
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine
from .gate import behind_gate, open_waiting_claims
from .ledger import CLOCK, Shard, all_shards, open_claims, reporter
from .threads import report_until, run_beside_each_other

METRICS_EVERY_S = 1.0

END_S = 8
"""What a batch may take after SIGTERM; one that takes longer is left to another consumer."""


def run_consumer(settings: Settings) -> None:
    """The consumer of every ledger, each in a thread of its own, until SIGTERM.

    Raises SettingsError where nothing can wait.
    """
    consumers = [_Consuming(settings, shard) for shard in all_shards(settings)]
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        # Ends this process by itself, whatever it waits for.
        signal.alarm(END_S)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    reporting = partial(report_until, stopping, reporter(settings, "consumer", ""))
    run_beside_each_other([reporting, *(partial(consuming.run, stopping) for consuming in consumers)], stopping)


class _Consuming:
    """One ledger's consumer, with counts of its own."""

    def __init__(self, settings: Settings, shard: Shard) -> None:
        place = shard.place
        self._run_dir = settings.run_dir
        self._name = f"consumer-{os.getpid()}-{shard.name}"
        self._counters = Counters("consumer")
        # The same after a restart, so that what was taken before is found at once.
        name = f"{socket.gethostname()}:{settings.data.resolve()}"
        self._queue = open_waiting_claims(settings, place, name)
        claims = open_claims(place, steady=True)
        # The embedded ledger answers faster by itself than a gate beside it could.
        self._ledger = claims if isinstance(place, Path) else behind_gate(claims, place, settings.gate.url)[0]
        campaigns = SqlCampaigns(open_engine(place), CLOCK)
        self._consumer = Consumer(campaigns, claims, self._ledger, self._queue, self._counters, CLOCK, time.monotonic)

    def run(self, stopping: threading.Event) -> None:
        due = time.monotonic()
        while not stopping.is_set():
            stopping.wait(self._consumer.turn())
            if time.monotonic() >= due:
                due = time.monotonic() + METRICS_EVERY_S
                self._publish()
        self._queue.close()
        self._ledger.close()
        self._publish()

    def _publish(self) -> None:
        self._counters.gauge("headgate_queue_length", self._consumer.length)
        self._counters.gauge("headgate_queue_age_seconds", self._consumer.age_s)
        metrics_files.publish(self._run_dir, self._name, self._counters.snapshot())
