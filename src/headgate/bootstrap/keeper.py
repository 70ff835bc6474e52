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
from ..storage.sql.leases import SqlLeases
from ..storage.sql.sqlite_claims import SqliteClaims
from .ledger import CLOCK, ENTROPY, ledger_file


def run_keeper(settings: Settings) -> None:
    """The keeper, until SIGTERM."""
    engine = open_engine(ledger_file(settings))
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    claims = SqliteClaims(ledger_file(settings), CLOCK, ENTROPY)
    keeper = Keeper(SqlCampaigns(engine, CLOCK), claims, SqlLeases(engine, CLOCK), CLOCK, settings.public_dir, holder)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    while not stopping.is_set():
        keeper.turn()
        stopping.wait(TURN_S)
    keeper.stop()
