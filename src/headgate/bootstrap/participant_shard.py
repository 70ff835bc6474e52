"""What one worker of the participant plane has for one ledger."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import Engine

from ..participant.claims import ClaimForm
from ..participant.plane import Shard as ServedShard
from ..participant.reader import Reader
from ..participant.watcher import Watcher
from ..services.adaptive import START, AdaptiveLimit
from ..services.book import CampaignBook, Ledgers, Refresher
from ..services.claiming import ClaimDesk
from ..services.ledger_thread import LedgerThread
from ..services.limits import Limits
from ..services.queued import QueuedDesk
from ..services.stock import StockBoard
from ..settings import MEMORY_GATE, Settings
from ..storage.memory.gate import MemoryGate
from ..storage.memory.telemetry import Counters
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine
from ..storage.sql.ledger_process import ProcessWriter
from ..storage.sql.server_claims import ServerClaims
from . import ledger_writer
from .gate import open_queue, open_strangers, share_looks
from .ledger import CLOCK, ENTROPY, Place, Shard, open_claims
from .replicas import open_sources, replica_names

LOOK_PATIENCE_S = 1.0
"""What a look at a replica may wait for an answer, before it goes to the primary: a statement takes milliseconds."""

BROKEN_EXIT = 70
"""Exit code of a worker whose storage failed (EX_SOFTWARE of sysexits.h)."""

ANSWER_S = 0.2
"""What a worker whose storage failed still has to tell those who wait that it does not know."""

_log = structlog.get_logger("headgate")


class Worker(NamedTuple):
    """What the ledgers of one worker have in common; `key` is the secret one."""

    settings: Settings
    loop: asyncio.AbstractEventLoop
    counters: Counters
    limits: Limits
    key: bytes


class ShardParts:
    """Wired together; `watcher` is to be started."""

    def __init__(self, worker: Worker, shard: Shard, publish_metrics: Callable[[], None] | None) -> None:
        settings, loop, counters = worker.settings, worker.loop, worker.counters
        place = shard.place
        # Where the ledger is on a server, others may write it too.
        exclusive = settings.workers == 1 and isinstance(place, Path)
        board = StockBoard()
        gate = MemoryGate(board, exclusive=exclusive)
        engine = open_engine(place)
        primary = Ledgers(SqlCampaigns(engine, CLOCK), open_claims(place))
        self._place = shard
        sources = open_sources(shard, engine, primary, _read_ledgers, LOOK_PATIENCE_S)
        self._shared = share_looks(settings, sources, place)
        self._sources = self._shared or sources
        refresher = Refresher(self._sources, CLOCK, exclusive=exclusive)
        queue = open_queue(settings, loop, place)
        self.book = CampaignBook(board, gate, queues=queue is not None, shard=shard.name)
        self._writer = ProcessWriter(loop, *_writer_command(settings, place), _stop_this_process)
        self._read_thread = LedgerThread(loop, f"ledger-read-{shard.name}")
        permits, on_settled = self._permits(settings, loop)
        desk = ClaimDesk(
            loop, self._writer, gate, board, counters, refresher.read_again, _stop_this_process, on_settled
        )
        queued = None if queue is None else QueuedDesk(queue, desk, CLOCK)
        # An embedded ledger has no gate before it, whatever its limits are counted at.
        strangers = None
        if not isinstance(place, Path):
            strangers = open_strangers(settings, loop, worker.key, self._writer, counters.uncounted)
        self.watcher = Watcher(loop, refresher, self.book, publish_metrics)
        self.name = shard.name
        self.served = ServedShard(
            form=ClaimForm(desk, gate, worker.limits, counters, worker.key, queued, strangers),
            desk=desk,
            reader=Reader(loop, open_claims(place, steady=True), self._read_thread),
            queued=queued,
            permits=permits,
        )

    def _permits(
        self, settings: Settings, loop: asyncio.AbstractEventLoop
    ) -> tuple[int, Callable[[float], None] | None]:
        """How many there are at first, and who hears how long claims wait."""
        if settings.limits.concurrency != "adaptive":
            return settings.limits.concurrency, None

        def apply(permits: int) -> None:
            self.served.permits = permits

        limit = AdaptiveLimit(loop.time, apply)
        return START, lambda latency_s: limit.measured(latency_s, self.served.progress)

    def replicas_in_use(self) -> dict[str, bool]:
        return replica_names(self._place, self._sources.in_use())

    def looks(self) -> tuple[int, int]:
        """How many were made, and how many were taken over from other workers."""
        return (0, 0) if self._shared is None else (self._shared.own, self._shared.shared)

    def close(self) -> None:
        self.watcher.stop()
        self._sources.close()
        self._writer.close()
        self._read_thread.stop()


def _read_ledgers(engine: Engine) -> Ledgers:
    """Both sides of a replica."""
    return Ledgers(SqlCampaigns(engine, CLOCK), ServerClaims(engine, None, ENTROPY))


def _writer_command(settings: Settings, place: Place) -> tuple[list[str], dict[str, str]]:
    """How a ledger process is started: its command line but for the socket, and its environment."""
    where = str(place) if isinstance(place, Path) else ledger_writer.ON_A_SERVER
    environment = dict(os.environ)
    if not isinstance(place, Path):
        environment[ledger_writer.URL_VARIABLE] = place.render_as_string(hide_password=False)
        if settings.gate.url != MEMORY_GATE:
            environment[ledger_writer.GATE_VARIABLE] = settings.gate.url
    return [sys.executable, "-m", ledger_writer.__name__, where, str(os.getpid())], environment


@cache
def _stop_this_process() -> None:
    """A failed sync is never retried: end, and let the server start a process that recovers from disk.

    Every batch that fails asks for it, and the first one does it.
    """
    _log.critical("ledger_broken", action="stopping this worker")
    threading.Timer(ANSWER_S, os._exit, (BROKEN_EXIT,)).start()
