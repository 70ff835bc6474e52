"""The console plane: one process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from litestar import Litestar
from sqlalchemy import Engine

from ..console.app import create_app
from ..console.desk import Measures
from ..ports.ledger import CampaignLedger, LedgerError
from ..ports.replicas import Sources
from ..services import metrics_files
from ..services.campaigns import Campaigns
from ..services.operators import Operators
from ..services.processes import die_with_parent
from ..services.relays import ages_s
from ..settings import MAIN, Settings
from ..storage.memory.telemetry import Counters
from ..storage.sql.engine import open_engine
from ..storage.sql.operators import SqlOperators
from ..storage.sql.outbox import SqlOutbox
from .events import destination_names
from .ledger import CLOCK, ENTROPY, Shard, all_shards, home_of, load_key, main_place, make_nodes
from .listening import HEADERS, STOP_WORKERS_S
from .logs import set_up_logging
from .replicas import REPORT_PATIENCE_S, open_sources, read_campaigns, replica_names


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
    shards = all_shards(settings)
    engines = {shard.name: open_engine(shard.place) for shard in shards}
    engine = engines[MAIN]
    counters = Counters("console")
    sources = {shard.name: _sources(shard, engines[shard.name]) for shard in shards}

    def publish_metrics() -> None:
        in_use = (replica_names(shard, sources[shard.name].in_use()) for shard in shards)
        counters.replicas({name: used for names in in_use for name, used in names.items()})
        metrics_files.publish(settings.run_dir, f"console-{os.getpid()}", counters.snapshot())

    return create_app(
        campaigns=Campaigns({name: home_of(opened) for name, opened in engines.items()}),
        sources=sources,
        nodes=make_nodes(engine, main_place(settings)),
        operators=Operators(SqlOperators(engine, CLOCK), CLOCK, ENTROPY),
        secret=load_key(settings),
        clock=CLOCK,
        measures=Measures(
            telemetry=counters,
            run_dir=settings.run_dir,
            publish=publish_metrics,
            event_ages_s=partial(_event_ages_s, [SqlOutbox(opened) for opened in engines.values()], settings),
        ),
        trusted_proxies=settings.trusted_proxies,
    )


def _sources(shard: Shard, engine: Engine) -> Sources[CampaignLedger]:
    return open_sources(shard, engine, read_campaigns(engine), read_campaigns, REPORT_PATIENCE_S)


def _event_ages_s(outboxes: Sequence[SqlOutbox], settings: Settings) -> dict[str, float]:
    """The oldest that waits on any ledger, for each destination; those of a ledger that is away are not known."""
    oldest: dict[str, float] = {}
    for outbox in outboxes:
        with suppress(LedgerError):
            for name, age_s in ages_s(outbox, destination_names(settings), CLOCK).items():
                oldest[name] = max(age_s, oldest.get(name, 0.0))
    return oldest
