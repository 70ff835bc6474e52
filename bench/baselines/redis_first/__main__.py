"""`python -m bench.baselines.redis_first`: sets up a campaign, serves it, writes its wins to the ledger."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import sqlalchemy as sa
from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels

from .app import GATE_VARIABLE, LEDGER_VARIABLE
from .client import AnswerLost, Client, GateAway, UnusableUrl
from .consumer import Consumer
from .gate import Gate
from .ledger import open_ledger
from .setting_up import Unusable, read_file, set_up

BACKLOG = 4_096


def main() -> None:
    arguments = _arguments()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    for variable in (GATE_VARIABLE, LEDGER_VARIABLE):
        if not os.environ.get(variable):
            sys.exit(f"{variable} is not set; it names the server, for example {_EXAMPLES[variable]}")
    try:
        if arguments.command == "serve":
            _serve(arguments)
        else:
            asyncio.run(_set_up(arguments.file) if arguments.command == "setup" else _consume())
    except (Unusable, UnusableUrl) as error:
        sys.exit(str(error))
    except (GateAway, AnswerLost) as error:
        sys.exit(f"{error}; look whether the server runs, and at {GATE_VARIABLE}")
    except sa.exc.SQLAlchemyError as error:
        sys.exit(f"the ledger cannot be used: {error}; look whether the server runs, and at {LEDGER_VARIABLE}")


_EXAMPLES = {
    GATE_VARIABLE: "redis://127.0.0.1:6379",
    LEDGER_VARIABLE: "postgresql+psycopg://user@127.0.0.1/headgate",
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.baselines.redis_first", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    setup = commands.add_parser("setup", help="create a campaign")
    setup.add_argument("--file", type=Path, required=True, help="the campaign as JSON")
    serve = commands.add_parser("serve", help="answer participants")
    serve.add_argument("--listen", type=_address, default=("127.0.0.1", 8000), metavar="HOST:PORT")
    serve.add_argument("--workers", type=int, default=1)
    commands.add_parser("consume", help="write wins to the ledger")
    return parser.parse_args()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")
    return host, int(port)


async def _set_up(file: Path) -> None:
    wanted = read_file(file)
    client, engine = Client(os.environ[GATE_VARIABLE]), open_ledger(os.environ[LEDGER_VARIABLE])
    try:
        await set_up(Gate(client), engine, wanted)
    finally:
        await client.close()
        engine.dispose()
    print(wanted.slug)


def _serve(arguments: argparse.Namespace) -> None:
    host, port = arguments.listen
    server = Granian(
        "bench.baselines.redis_first.app:app",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=arguments.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
    )
    server.serve()


async def _consume() -> None:
    client, engine = Client(os.environ[GATE_VARIABLE]), open_ledger(os.environ[LEDGER_VARIABLE])
    consumer = Consumer(Gate(client), engine)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, consumer.stop)
    try:
        await consumer.run()
    finally:
        await client.close()
        engine.dispose()


if __name__ == "__main__":
    main()
