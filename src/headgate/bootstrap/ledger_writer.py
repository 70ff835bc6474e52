"""The program of a ledger process, started by a worker.

`python -m headgate.bootstrap.ledger_writer LEDGER PARENT SOCKET`; for a ledger on a server LEDGER is `-`, and
its URL is in the environment, which only this user can see: it may hold a password.  So is that of a gate
that nodes share.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from ..ports.ledger import DecidingLedger
from ..services.processes import die_with_parent
from ..services.strangers import Doorkeeper
from ..storage.sql.ledger_process import serve
from ..storage.sql.sqlite_claims import SqliteClaims
from ..storage.system import SystemClock, SystemEntropy

ON_A_SERVER = "-"
URL_VARIABLE = "LEDGER_URL"
GATE_VARIABLE = "GATE_URL"


def main() -> None:
    where, parent, descriptor = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    die_with_parent(parent)
    # The worker decides when to end: it finishes what it took, then closes its end of the socket.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ledger, doorkeeper = _open(where)
    with socket.socket(fileno=descriptor) as connection:
        serve(connection, ledger, doorkeeper)
    ledger.close()


def _open(where: str) -> tuple[DecidingLedger, Doorkeeper | None]:
    if where != ON_A_SERVER:
        return SqliteClaims(Path(where), SystemClock(), SystemEntropy()), None
    # SQLAlchemy takes half a second to import, and the embedded ledger does without it and without a log.
    from sqlalchemy import make_url  # noqa: PLC0415 -- see above

    from .gate import behind_gate  # noqa: PLC0415 -- see above
    from .ledger import open_claims  # noqa: PLC0415 -- see above
    from .logs import set_up_logging  # noqa: PLC0415 -- see above

    set_up_logging()
    url = make_url(os.environ[URL_VARIABLE])
    gate = os.environ.get(GATE_VARIABLE)
    claims = open_claims(url, steady=True)
    return behind_gate(claims, url, gate) if gate else (claims, None)


if __name__ == "__main__":
    main()
