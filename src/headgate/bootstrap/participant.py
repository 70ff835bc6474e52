"""The participant plane: Granian with its workers, each with a ledger process of its own."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.log import LogLevels

from ..http.address import ClientAddress
from ..http.bodies import Bodies
from ..participant.app import ParticipantApp
from ..participant.pages import Pages, build_assets
from ..participant.plane import Plane
from ..services import metrics_files
from ..services.book import Catalogue
from ..services.limits import Limits
from ..services.processes import die_with_parent, schedule_as_batch
from ..services.sessions import Sessions
from ..settings import MAIN, Settings
from ..storage.memory.telemetry import Counters
from .garbage import set_up_collector
from .gate import open_limiter
from .ledger import CLOCK, ENTROPY, all_shards, load_key, reporter
from .listening import HEADERS, STOP_WORKERS_S
from .logs import set_up_logging
from .participant_shard import ShardParts, Worker

BACKLOG = 4_096
"""Connections that the kernel may hold for us; more than `net.core.somaxconn` allows has no effect."""

CONNECTIONS_MAX = 16_384
"""Connections that one worker serves at a time, below the usual limit of 20,000 open files."""

ASSETS_MAX_AGE_S = 31_536_000
"""A year: the names of assets hold a hash of their content."""


def run_participant(settings: Settings) -> None:
    """The participant plane: Granian with `settings.workers` processes, until SIGTERM."""
    address = settings.listen_address
    assets = settings.public_path / "assets"
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
    key = load_key(settings)
    counters = Counters("participant")
    limits = Limits(open_limiter(settings, loop, key, counters.uncounted), settings.limits.per_ip_per_minute)
    report = reporter(settings, "participant", settings.listen)

    def publish_metrics() -> None:
        report.tell()
        counters.gauge("headgate_concurrency_limit", sum(part.served.permits for part in parts))
        counters.gauge("headgate_inflight", sum(part.served.progress for part in parts))
        counters.replicas({name: used for part in parts for name, used in part.replicas_in_use().items()})
        looks = [part.looks() for part in parts]
        counters.looks(sum(made for made, _ in looks), sum(shared for _, shared in looks))
        metrics_files.publish(settings.run_dir, f"participant-{os.getpid()}", counters.snapshot())

    def close() -> None:
        for part in parts:
            part.close()
        publish_metrics()

    worker = Worker(settings, loop, counters, limits, key)
    parts = [
        # One of them does it for all.
        ShardParts(worker, shard, publish_metrics if shard.name == MAIN else None)
        for shard in all_shards(settings)
    ]
    plane = Plane(
        clock=CLOCK,
        entropy=ENTROPY,
        catalogue=Catalogue([part.book for part in parts]),
        shards={part.name: part.served for part in parts},
        sessions=Sessions(key, CLOCK, ENTROPY),
        addresses=ClientAddress(settings.trusted_proxies),
        limits=limits,
        telemetry=counters,
        pages=Pages(build_assets(settings.public_path / "assets")),
        bodies=Bodies(),
        # One that is away takes only its own campaigns along.
        current=lambda: any(part.watcher.current() for part in parts),
        close=close,
    )
    for part in parts:
        part.watcher.start()
    set_up_collector(counters)
    return plane
