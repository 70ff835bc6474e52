"""Servers that follow others, as their users set them up."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from tests.needs import unavailable
from tests.servers import (
    READY_S,
    Server,
    free_port,
    mariadb,
    own,
    postgresql,
    postgresql_programs,
    run,
    running_postgresql,
)


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
    # Where `initdb` is a link, its siblings are where it leads.
    backup = (postgresql_programs() / "initdb").resolve().with_name("pg_basebackup")
    if not backup.exists():
        unavailable(f"NO PG_BASEBACKUP in {backup.parent}: name the directory of all programs in TEST_POSTGRESQL_BIN")
    directory = directory / "postgresql"
    own(directory)
    data, port = directory / "data", free_port()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(directory)}
    run(
        [
            backup, "--pgdata", data, "--write-recovery-conf", "--wal-method=stream",
            "--checkpoint=fast", "--no-sync", "--dbname", primary.url.replace("+psycopg", ""),
        ],
        env=environment,
    )  # fmt: skip
    with running_postgresql(data, port, environment, settings) as server:
        yield server


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
