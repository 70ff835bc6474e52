"""The keeper's process."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from functools import partial

import structlog

from ..keeper.duties import TURN_S, Keeper
from ..keeper.publisher import Publisher
from ..settings import Settings
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine
from .events import open_relays
from .gate import open_follower
from .ledger import CLOCK, Shard, all_shards, open_claims, open_leases, reporter
from .threads import report_until, run_beside_each_other


def run_keeper(settings: Settings) -> None:
    """The keeper of every ledger, each with a lease and a thread of its own, until SIGTERM."""
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    keepers = [partial(_keep, settings, shard, holder, stopping) for shard in all_shards(settings)]
    reporting = partial(report_until, stopping, reporter(settings, "keeper", ""))
    run_beside_each_other([reporting, *keepers], stopping)


def _keep(settings: Settings, shard: Shard, holder: str, stopping: threading.Event) -> None:
    if settings.shards:
        # This thread's lines say of which ledger they are.
        structlog.contextvars.bind_contextvars(ledger=shard.name)
    place = shard.place
    engine = open_engine(place)
    leases = open_leases(engine, place)
    claims = open_claims(place)
    follower = open_follower(settings, claims, place)
    relays = open_relays(settings, shard)
    publisher = Publisher(SqlCampaigns(engine, CLOCK), claims, CLOCK, settings.public_path)
    keeper = Keeper(leases, holder, publisher, relays, follower)
    relays.start()
    while not stopping.is_set():
        keeper.turn()
        stopping.wait(TURN_S)
    keeper.stop()
