"""The consumer's process."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

from ..services import metrics_files
from ..services.consuming import Consumer
from ..settings import Settings
from ..storage.memory.telemetry import Counters
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine
from .gate import behind_gate, open_waiting_claims
from .ledger import CLOCK, ledger_place, open_claims

METRICS_EVERY_S = 1.0

END_S = 8
"""What a batch may take after SIGTERM; one that takes longer is left to another consumer."""


def run_consumer(settings: Settings) -> None:
    """The consumer, until SIGTERM; raises SettingsError where nothing can wait."""
    place = ledger_place(settings)
    # The same after a restart, so that what was taken before is found at once.
    name = f"{socket.gethostname()}:{settings.data.resolve()}"
    queue = open_waiting_claims(settings, place, name)
    claims = open_claims(place)
    # The embedded ledger answers faster by itself than a gate beside it could.
    ledger = claims if isinstance(place, Path) else behind_gate(claims, place, settings.gate.url)
    counters = Counters("consumer")
    consumer = Consumer(SqlCampaigns(open_engine(place), CLOCK), claims, ledger, queue, counters, CLOCK, time.monotonic)
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        # Ends this process by itself, whatever it waits for.
        signal.alarm(END_S)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    due = time.monotonic()
    while not stopping.is_set():
        stopping.wait(consumer.turn())
        if time.monotonic() >= due:
            due = time.monotonic() + METRICS_EVERY_S
            _publish(settings, counters, consumer)
    queue.close()
    ledger.close()
    _publish(settings, counters, consumer)


def _publish(settings: Settings, counters: Counters, consumer: Consumer) -> None:
    counters.gauge("headgate_queue_length", consumer.length)
    counters.gauge("headgate_queue_age_seconds", consumer.age_s)
    metrics_files.publish(settings.run_dir, f"consumer-{os.getpid()}", counters.snapshot())
