"""The replicas of the ledger, out of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager

import structlog
from sqlalchemy import URL, Engine

from ..keeper.duties import LEASE, LEASE_TTL_MS
from ..ports.ledger import CampaignLedger, LedgerError
from ..ports.replicas import ReplicaAway, Sources, V
from ..services.primary_alone import PrimaryAlone
from ..services.reports import Reports
from ..settings import MAIN, Settings
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine
from ..storage.sql.replica_connections import open_replica
from ..storage.sql.replicas import Changed, Replicas
from ..storage.sql.servers import STATEMENT_S, server_name, shown
from ..storage.sql.standing import REPLICA_LAG_S, Primary, Renewed, standing
from .ledger import CLOCK, Shard, all_shards, open_campaigns, open_ledger

REPORT_PATIENCE_S = STATEMENT_S
"""What the largest count may take on a replica, as on the primary."""

_RENEWED = Renewed(LEASE, LEASE_TTL_MS)

_log = structlog.get_logger("headgate.replicas")


def open_sources(
    shard: Shard, engine: Engine, primary: V, read_with: Callable[[Engine], V], patience_s: float
) -> Sources[V]:
    """For a plane: what it reads is REPLICA_LAG_S old at most.  `engine` is that of `primary`."""
    if not shard.replica_places:
        return PrimaryAlone(primary)
    held_against = Primary(engine, _RENEWED)
    replicas = Replicas(primary, held_against, held_against.must_be_recent, _say(shard))
    for place in shard.replica_places:
        replicas.add(place, patience_s, read_with)
    replicas.start()
    return replicas


def read_campaigns(engine: Engine) -> CampaignLedger:
    return SqlCampaigns(engine, CLOCK)


@contextmanager
def open_reports(settings: Settings, slug: str) -> Iterator[Reports]:
    """On one campaign, for a command: they show everything that was committed before it began, wherever they read.

    Raises UnknownCampaign, NoLedger, LedgerError.
    """
    with open_campaigns(settings) as campaigns:
        name = campaigns.shard_of(slug)
    shard = next(shard for shard in all_shards(settings) if shard.name == name)
    with open_ledger(settings, shard.place) as engine:
        if not shard.replica_places:
            yield Reports(PrimaryAlone(read_campaigns(engine)))
            return
        held_against = Primary(engine, _RENEWED)
        began_ms = held_against.ask().standing.now_ms
        replicas = Replicas(
            read_campaigns(engine),
            held_against,
            lambda copy: held_against.must_have_come_to(began_ms, copy),
            lambda _number, _why: None,
        )
        for place in shard.replica_places:
            replicas.add(place, REPORT_PATIENCE_S, read_campaigns)
        with closing(replicas):
            replicas.start()
            # Until a replica has heard from a keeper since; without one, or behind a slow one, the primary is read.
            replicas.wait(REPLICA_LAG_S)
            yield Reports(replicas)


def check_replica(shard: Shard, place: URL) -> str:
    """What was found; raises ReplicaAway where nothing would be read from it."""
    engine, copy = open_engine(shard.place), open_replica(place, REPORT_PATIENCE_S, lambda _connection: None)
    try:
        held_against = Primary(engine, _RENEWED)
        try:
            held_against.ask()
        except LedgerError as error:
            raise ReplicaAway(f"it cannot be held against the primary: {error}") from error
        with copy.connect() as connection:
            found = held_against.compared(standing(connection, _RENEWED))
            return f"{shown(place)} on {server_name(connection)}, {found}"
    finally:
        engine.dispose()
        copy.dispose()


def replica_names(shard: Shard, in_use: Mapping[int, bool]) -> dict[str, bool]:
    """By what metrics call them: those of the first ledger by their numbers alone."""
    return {str(number) if shard.name == MAIN else f"{shard.name}:{number}": used for number, used in in_use.items()}


def _say(shard: Shard) -> Changed:
    def changed(number: int, why: str | None) -> None:
        said = {"ledger": shard.name, "replica": number, "server": shown(shard.replica_places[number - 1])}
        if why is None:
            _log.info("replica_in_use", **said)
        else:
            _log.warning("replica_left_out", **said, error=why, action="reading elsewhere")

    return changed
