"""The keeper's process."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading

from ..keeper.duties import TURN_S, Keeper
from ..settings import Settings
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine
from .events import open_relays
from .gate import open_follower
from .ledger import CLOCK, ledger_place, open_claims, open_leases, reporter


def run_keeper(settings: Settings) -> None:
    """The keeper, until SIGTERM."""
    place = ledger_place(settings)
    engine = open_engine(place)
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    leases = open_leases(engine, place)
    claims = open_claims(place)
    follower = open_follower(settings, claims, place)
    relays = open_relays(settings, place)
    keeper = Keeper(SqlCampaigns(engine, CLOCK), claims, leases, CLOCK, settings.public_dir, holder, relays, follower)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    report = reporter(settings, "keeper", "")
    relays.start()
    while not stopping.is_set():
        keeper.turn()
        report.tell()
        stopping.wait(TURN_S)
    keeper.stop()
