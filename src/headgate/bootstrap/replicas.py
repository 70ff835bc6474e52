"""The replicas of the ledger, out of the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import structlog
from sqlalchemy import URL, Engine

from ..keeper.duties import LEASE, LEASE_TTL_MS
from ..ports.ledger import CampaignLedger, LedgerError
from ..ports.replicas import ReplicaAway, Sources, V
from ..services.primary_alone import PrimaryAlone
from ..services.reports import Reports
from ..settings import Settings
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine
from ..storage.sql.replica_connections import open_replica
from ..storage.sql.replicas import Changed, Replicas
from ..storage.sql.servers import STATEMENT_S, server_name, shown
from ..storage.sql.standing import REPLICA_LAG_S, Primary, Renewed, standing
from .ledger import CLOCK, ledger_place, open_ledger, replica_places

REPORT_PATIENCE_S = STATEMENT_S
"""What the largest count may take on a replica, as on the primary."""

_RENEWED = Renewed(LEASE, LEASE_TTL_MS)

_log = structlog.get_logger("headgate.replicas")


def open_sources(
    settings: Settings, engine: Engine, primary: V, read_with: Callable[[Engine], V], patience_s: float
) -> Sources[V]:
    """For a plane: what it reads is REPLICA_LAG_S old at most.  `engine` is that of `primary`."""
    places = replica_places(settings)
    if not places:
        return PrimaryAlone(primary)
    held_against = Primary(engine, _RENEWED)
    replicas = Replicas(primary, held_against, held_against.must_be_recent, _say(places))
    for place in places:
        replicas.add(place, patience_s, read_with)
    replicas.start()
    return replicas


def read_campaigns(engine: Engine) -> CampaignLedger:
    return SqlCampaigns(engine, CLOCK)


@contextmanager
def open_reports(settings: Settings) -> Iterator[Reports]:
    """For a command: they show everything that was committed before it began, wherever they read.

    Raises NoLedger, LedgerError.
    """
    with open_ledger(settings) as engine:
        places = replica_places(settings)
        if not places:
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
        for place in places:
            replicas.add(place, REPORT_PATIENCE_S, read_campaigns)
        with closing(replicas):
            replicas.start()
            # Until a replica has heard from a keeper since; without one, or behind a slow one, the primary is read.
            replicas.wait(REPLICA_LAG_S)
            yield Reports(replicas)


def check_replica(settings: Settings, number: int) -> str:
    """What was found; raises ReplicaAway where nothing would be read from it."""
    place = replica_places(settings)[number - 1]
    engine, copy = open_engine(ledger_place(settings)), open_replica(place, REPORT_PATIENCE_S, lambda _connection: None)
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


def _say(places: list[URL]) -> Changed:
    def changed(number: int, why: str | None) -> None:
        server = shown(places[number - 1])
        if why is None:
            _log.info("replica_in_use", replica=number, server=server)
        else:
            _log.warning("replica_left_out", replica=number, server=server, error=why, action="reading elsewhere")

    return changed
