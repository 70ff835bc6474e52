"""Servers that follow others, as their users set them up."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from headgate.lab.servers.postgresql import begin_postgresql, copy
from headgate.lab.servers.process import READY_S
from tests.mysql_servers import mariadb
from tests.servers import Server, postgresql


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Meanwhile the kernel takes its connections and what comes on them, and nobody answers."""
    family = server.signal(signal.SIGSTOP)
    try:
        # A signal is on its way for a while, and a thread may answer once more.
        deadline = time.monotonic() + READY_S
        while any(not _stopped(task) for pid in family for task in Path(f"/proc/{pid}/task").glob("*/stat")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
    finally:
        server.signal(signal.SIGCONT)


def _stopped(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "TZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextlib.contextmanager
def standby(directory: Path, primary: Server, **settings: str) -> Iterator[Server]:
    """A PostgreSQL server that follows `primary` by streaming; `directory` is another than that server's."""
    home, leader = directory / "postgresql", sa.make_url(primary.url)
    copy(home, str(leader.port))
    follow = f"host={leader.host} port={leader.port} user={leader.username}"
    server = begin_postgresql(home, directory / "postgresql.log", primary_conninfo=follow, **settings)
    try:
        server.again()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def postgresql_pair(directory: Path, **settings: str) -> Iterator[tuple[Server, Server]]:
    """A PostgreSQL server, and another that follows it."""
    for name in ("primary", "replica"):
        (directory / name).mkdir()
    with (
        postgresql(directory / "primary", **settings) as primary,
        standby(directory / "replica", primary, **settings) as replica,
    ):
        yield primary, replica


@contextlib.contextmanager
def mariadb_pair(directory: Path) -> Iterator[tuple[Server, Server]]:
    """A MariaDB server, and another that follows it."""
    for name in ("primary", "replica"):
        (directory / name).mkdir()
    with (
        mariadb(directory / "primary", "--server-id=1", "--log-bin=b", "--sync-binlog=1") as primary,
        mariadb(directory / "replica", "--server-id=2", "--read-only") as replica,
    ):
        port = sa.make_url(primary.url).port
        engine = sa.create_engine(replica.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(
                f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='root', "
                "MASTER_USE_GTID=slave_pos"
            )
            connection.exec_driver_sql("START SLAVE")
        engine.dispose()
        yield primary, replica
