"""The program of a ledger process, started by a worker.

`python -m headgate.bootstrap.ledger_writer LEDGER PARENT SOCKET`
"""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from ..services.processes import die_with_parent
from ..storage.sql.ledger_process import serve
from ..storage.sql.sqlite_claims import SqliteClaims
from ..storage.system import SystemClock, SystemEntropy


def main() -> None:
    path, parent, descriptor = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    die_with_parent(parent)
    # The worker decides when to end: it finishes what it took, then closes its end of the socket.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ledger = SqliteClaims(path, SystemClock(), SystemEntropy())
    with socket.socket(fileno=descriptor) as connection:
        serve(connection, ledger)
    ledger.close()


if __name__ == "__main__":
    main()
