"""What `headgate doctor` looks at: ledgers, how fast they are, whether they are apart, and the key."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from sqlalchemy import URL, Engine

from ..ports.ledger import LedgerSlow, LedgerUnavailable
from ..settings import NoLedger, Settings, SettingsError
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import exists, open_engine, server_of
from ..storage.sql.integrity import check_file
from ..storage.sql.leases import SqlLeases
from .ledger import CLOCK, Shard, check_apart, open_campaigns, read_key

COMMITS = 10
"""Transactions that are timed to say how fast a server is."""
COMMIT_BAD_MS = 60.0
"""What a mechanical disk takes; a good one answers within 5 ms, from the same data centre."""
DOCTOR = "doctor"
"""The name of a lease that means nothing."""


def check_ledger(shard: Shard) -> str:
    """What was found; raises LedgerError where the ledger is damaged or cannot be used, and LedgerSlow."""
    place = shard.place
    if not exists(place):
        return "there is none yet" if isinstance(place, Path) else f"there is none yet on {_empty(place)}"
    if isinstance(place, Path):
        check_file(place)
    engine = open_engine(place)
    try:
        SqlCampaigns(engine, CLOCK).check()
        if isinstance(place, Path):
            return "whole"
        commit_ms = _commit_ms(engine)
        found = f"whole, on {server_of(engine)}, a commit takes {commit_ms:.1f} ms (median of {COMMITS})"
        if commit_ms >= COMMIT_BAD_MS:
            raise LedgerSlow(found)
        return found
    finally:
        engine.dispose()


def _empty(place: URL) -> str:
    """Name and version of a server without a ledger; raises LedgerError where none could be made."""
    engine = open_engine(place)
    try:
        return server_of(engine, to_be_made=True)
    finally:
        engine.dispose()


def check_shards(settings: Settings) -> str:
    """What was found of several ledgers together; raises SettingsError where they cannot be used beside each other."""
    try:
        with open_campaigns(settings) as campaigns:
            check_apart(campaigns)
            elsewhere = campaigns.elsewhere()
    except (NoLedger, LedgerUnavailable):
        return "not held against each other, because not all of them are there and answer"
    if elsewhere:
        raise SettingsError(
            f"{', '.join(elsewhere)}: made on a ledger that these settings do not name; name it as shards.NAME.url, as "
            "the other nodes do"
        )
    return f"{len(settings.ledgers)}, with all campaigns that were made on them, each on one"


def check_key(settings: Settings) -> str:
    """What was found; raises SettingsError where the key cannot be used."""
    path = settings.secret_path
    if not path.exists():
        return f"there is none yet; the first node makes {path}"
    read_key(path)
    return f"{path}, for this user only"


def _commit_ms(engine: Engine) -> float:
    """How long a small transaction takes, with its sync and the way there and back (ms).

    It renews a lease that means nothing: a row that gets the value that it has is not written by every server.
    """
    leases, times = SqlLeases(engine, None), []
    for _ in range(COMMITS):
        started = time.perf_counter()
        leases.acquire(DOCTOR, DOCTOR, 1)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)
