"""The console plane: one process."""

from __future__ import annotations

import os
from functools import partial

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from litestar import Litestar

from ..console.app import create_app
from ..console.desk import Measures
from ..services import metrics_files
from ..services.operators import Operators
from ..services.processes import die_with_parent
from ..services.relays import ages_s
from ..settings import Settings
from ..storage.memory.telemetry import Counters
from ..storage.sql.engine import open_engine
from ..storage.sql.operators import SqlOperators
from ..storage.sql.outbox import SqlOutbox
from .events import destination_names
from .ledger import CLOCK, ENTROPY, ledger_place, load_key, make_nodes
from .listening import HEADERS, STOP_WORKERS_S
from .logs import set_up_logging
from .replicas import REPORT_PATIENCE_S, open_sources, read_campaigns


def run_console(settings: Settings) -> None:
    """The console plane: one process, until SIGTERM."""
    address = settings.console_address
    server = Granian(
        "headgate.bootstrap.console:console_app",
        address=address.host,
        port=address.port,
        interface=Interfaces.ASGI,
        workers=1,
        http=HTTPModes.http1,
        http1_settings=HEADERS,
        websockets=False,
        respawn_failed_workers=True,
        respawn_interval=0.1,
        workers_kill_timeout=STOP_WORKERS_S,
        log_level=LogLevels.warning,
    )
    server.serve(target_loader=partial(console_app, settings, os.getpid()), wrap_loader=False)


def console_app(settings: Settings, parent: int) -> Litestar:
    """Runs in the console's worker process."""
    die_with_parent(parent)
    set_up_logging()
    place = ledger_place(settings)
    engine = open_engine(place)
    counters = Counters("console")
    sources = open_sources(settings, engine, read_campaigns(engine), read_campaigns, REPORT_PATIENCE_S)

    def publish_metrics() -> None:
        counters.replicas(sources.in_use())
        metrics_files.publish(settings.run_dir, f"console-{os.getpid()}", counters.snapshot())

    return create_app(
        sources=sources,
        nodes=make_nodes(engine, place),
        operators=Operators(SqlOperators(engine, CLOCK), CLOCK, ENTROPY),
        secret=load_key(settings),
        run_dir=settings.run_dir,
        clock=CLOCK,
        measures=Measures(
            telemetry=counters,
            publish=publish_metrics,
            event_ages_s=partial(ages_s, SqlOutbox(engine), destination_names(settings), CLOCK),
        ),
        trusted_proxies=settings.trusted_proxies,
    )
