"""The participant plane: Granian with its workers, each with a ledger process of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from functools import cache, partial
from pathlib import Path
from typing import Any

import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.log import LogLevels
from sqlalchemy import Engine

from ..http.address import ClientAddress
from ..http.bodies import Bodies
from ..participant.app import ParticipantApp
from ..participant.claims import ClaimForm
from ..participant.pages import Pages, build_assets
from ..participant.plane import Plane, Reader
from ..participant.watcher import Watcher
from ..services import metrics_files
from ..services.book import CampaignBook, Ledgers, Refresher
from ..services.claiming import ClaimDesk
from ..services.ledger_thread import LedgerThread
from ..services.limits import Limits
from ..services.processes import die_with_parent, schedule_as_batch
from ..services.queued import QueuedDesk
from ..services.sessions import Sessions
from ..services.stock import StockBoard
from ..settings import MEMORY_GATE, Settings
from ..storage.memory.gate import MemoryGate
from ..storage.memory.telemetry import Counters
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine
from ..storage.sql.ledger_process import ProcessWriter
from ..storage.sql.server_claims import ServerClaims
from . import ledger_writer
from .gate import open_limiter, open_queue
from .ledger import CLOCK, ENTROPY, Place, ledger_place, load_key, open_claims, reporter
from .listening import HEADERS, STOP_WORKERS_S
from .logs import set_up_logging
from .replicas import open_sources

BACKLOG = 4_096
"""Connections that the kernel may hold for us; more than `net.core.somaxconn` allows has no effect."""

CONNECTIONS_MAX = 16_384
"""Connections that one worker serves at a time, below the usual limit of 20,000 open files."""

ASSETS_MAX_AGE_S = 31_536_000
"""A year: the names of assets hold a hash of their content."""

GC_THRESHOLDS = (50_000, 20, 50)
"""Requests in progress hold some thousand objects for milliseconds; the default of 700 would look through
them dozens of times and find nothing."""

LOOK_PATIENCE_S = 1.0
"""What a look at a replica may wait for an answer, before it goes to the primary: a statement takes milliseconds."""

BROKEN_EXIT = 70
"""Exit code of a worker whose storage failed (EX_SOFTWARE of sysexits.h)."""

ANSWER_S = 0.2
"""What a worker whose storage failed still has to tell those who wait that it does not know."""

_log = structlog.get_logger("headgate")


def run_participant(settings: Settings) -> None:
    """The participant plane: Granian with `settings.workers` processes, until SIGTERM."""
    address = settings.listen_address
    assets = settings.public_dir / "assets"
    build_assets(assets)
    server = Granian(
        "headgate.bootstrap.participant:participant_app",
        address=address.host,
        port=address.port,
        interface=Interfaces.RSGI,
        workers=settings.workers,
        loop=Loops.uvloop,
        # Its one thread is woken for an answer only where it sleeps; the other kind is woken for each.
        runtime_mode=RuntimeModes.mt,
        http=HTTPModes.http1,
        http1_settings=HEADERS,
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_MAX,
        respawn_failed_workers=True,
        respawn_interval=0.1,
        workers_kill_timeout=STOP_WORKERS_S,
        log_level=LogLevels.warning,
        static_path_route=["/assets"],
        static_path_mount=[assets],
        static_path_expires=ASSETS_MAX_AGE_S,
    )
    server.serve(target_loader=partial(_load_participant, settings, os.getpid()), wrap_loader=False)


def _load_participant(settings: Settings, parent: int) -> Any:
    """Runs in each worker process."""
    die_with_parent(parent)
    schedule_as_batch()
    set_up_logging()
    return participant_app(settings)


def participant_app(settings: Settings) -> ParticipantApp:
    return ParticipantApp(lambda loop: _participant_plane(settings, loop))


def _participant_plane(settings: Settings, loop: asyncio.AbstractEventLoop) -> Plane:
    place = ledger_place(settings)
    # Where the ledger is on a server, others may write it too.
    exclusive = settings.workers == 1 and isinstance(place, Path)
    key = load_key(settings)
    board = StockBoard()
    gate = MemoryGate(board, exclusive=exclusive)
    counters = Counters("participant")
    engine = open_engine(place)
    primary = Ledgers(SqlCampaigns(engine, CLOCK), open_claims(place))
    sources = open_sources(settings, engine, primary, _read_ledgers, LOOK_PATIENCE_S)
    refresher = Refresher(sources, CLOCK, exclusive=exclusive)
    queue = open_queue(settings, loop, place)
    book = CampaignBook(board, gate, queues=queue is not None)
    writer = ProcessWriter(loop, *_writer_command(settings, place), _stop_this_process)
    read_thread = LedgerThread(loop, "ledger-read")
    limits = Limits(open_limiter(settings, loop, key, counters.uncounted), settings.limits.per_ip_per_minute)
    desk = ClaimDesk(loop, writer, gate, board, counters, refresher.read_again, _stop_this_process)
    queued = None if queue is None else QueuedDesk(queue, desk, CLOCK)

    report = reporter(settings, "participant", settings.listen)

    def publish_metrics() -> None:
        report.tell()
        counters.gauge("headgate_concurrency_limit", plane.permits)
        counters.gauge("headgate_inflight", plane.progress)
        counters.replicas(sources.in_use())
        metrics_files.publish(settings.run_dir, f"participant-{os.getpid()}", counters.snapshot())

    def close() -> None:
        watcher.stop()
        sources.close()
        writer.close()
        read_thread.stop()
        publish_metrics()

    watcher = Watcher(loop, refresher, book, publish_metrics)
    plane = Plane(
        clock=CLOCK,
        entropy=ENTROPY,
        book=book,
        desk=desk,
        form=ClaimForm(desk, gate, limits, counters, key, queued),
        sessions=Sessions(key, CLOCK, ENTROPY),
        addresses=ClientAddress(settings.trusted_proxies),
        limits=limits,
        telemetry=counters,
        pages=Pages(build_assets(settings.public_dir / "assets")),
        reader=Reader(open_claims(place), read_thread),
        bodies=Bodies(),
        permits=settings.limits.concurrency,
        queued=queued,
        current=watcher.current,
        close=close,
    )
    watcher.start()
    # What was imported and built so far lives as long as the process: the collector need not look at it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return plane


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
