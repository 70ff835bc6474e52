"""The SQLAlchemy engine of the cold side."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ...ports.ledger import LedgerDamaged, LedgerUnavailable
from .schema import SCHEMA_VERSION, claim, counter
from .servers import check_can_make, check_rights, check_server, open_server_engine, shown
from .slowness import watch
from .sqlite import BUSY_TIMEOUT_S, configure, meaning

_MIGRATION_LOCK = 0x68656164
"""`head` in ASCII: an advisory lock is a number that programs have agreed on."""

LEDGER_ID = "ledger.id"
"""The row of `counter` that tells one ledger from another."""

MIGRATION_WAIT_S = 60


def open_engine(place: Path | sa.URL, *, steady: bool = False) -> sa.Engine:
    """The engine of a SQLite file or of a server, for reading; `writing(engine)` is the same for what writes.

    `steady` says that statements always find rows by the same keys; see `open_server_engine`.
    """
    options = {"json_serializer": lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))}
    if isinstance(place, sa.URL):
        return open_server_engine(place, steady=steady, **options)
    return _open_file(place, options)


def _open_file(path: Path, options: dict[str, Any]) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        **options,
    )
    watch(engine, str(path))

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        configure(connection)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: sa.engine.ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.IntegrityError):
            # Only a commit is no statement.
            raise meaning(error, path, committing=context.statement is None) from error

    return engine


def writing(engine: sa.Engine) -> sa.Engine:
    """The engine for transactions that take the write lock at once, so that none fails half-way."""
    return engine.execution_options(immediate=True)


def make_ledger(path: Path) -> None:
    """A new ledger with this program's schema, readable by its owner only; it is there whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    # SQLite gives the files that it makes beside this one the same permissions.
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    engine = open_engine(new)
    try:
        upgrade(engine)
    finally:
        engine.dispose()
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def exists(place: Path | sa.URL) -> bool:
    """Whether there is a ledger; raises LedgerUnavailable for a server that cannot be asked."""
    if isinstance(place, Path):
        return place.exists()
    engine = open_engine(place)
    try:
        with engine.connect() as connection:
            return schema_version(connection) is not None
    finally:
        engine.dispose()


def server_of(engine: sa.Engine, *, to_be_made: bool = False) -> str:
    """Name and version of a ledger's server; raises LedgerUnavailable, LedgerUnusable.

    `to_be_made` says that the ledger is not there yet, and asks whether this account could make it.
    """
    with engine.connect() as connection:
        found = check_server(connection)
        if to_be_made:
            check_can_make(connection)
        return found


def ledger_id(engine: sa.Engine) -> int:
    """The random number that this ledger was given when it was made."""
    with engine.connect() as connection:
        return int(connection.execute(sa.select(counter.c.value).where(counter.c.name == LEDGER_ID)).scalar_one())


def upgrade(engine: sa.Engine) -> None:
    """Bring the schema to this program's version; raises SchemaTooNew where it is beyond it."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            check_server(connection)
        if schema_version(connection) == SCHEMA_VERSION:
            if engine.dialect.name != "sqlite":
                check_rights(connection)
            return
    # Alembic takes a third of a second to import, and most starts have nothing to migrate.
    from .migrating import migrate  # noqa: PLC0415

    with _migrating(engine) as connection:
        migrate(connection)


@contextmanager
def _migrating(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction beside which no other program migrates the same ledger."""
    match engine.dialect.name:
        case "sqlite":
            with writing(engine).begin() as connection:
                yield connection
        case "postgresql":
            with engine.begin() as connection:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                yield connection
        case _:
            # Statements that change tables commit by themselves here, so the lock belongs to the session.
            with engine.connect() as connection:
                if not connection.scalar(sa.select(sa.func.get_lock(str(_MIGRATION_LOCK), MIGRATION_WAIT_S))):
                    raise LedgerUnavailable(
                        f"another program has been migrating the ledger for {MIGRATION_WAIT_S} s; look what it does"
                    )
                try:
                    yield connection
                    # Before the lock is given back, or the next program would not see the version that is reached.
                    connection.commit()
                finally:
                    connection.execute(sa.select(sa.func.release_lock(str(_MIGRATION_LOCK))))


def schema_version(connection: sa.Connection) -> str | None:
    """The version of the schema that the ledger has; None for a new one.  Raises LedgerDamaged for half of one."""
    inspection = sa.inspect(connection)
    if not inspection.has_table("alembic_version"):
        if inspection.has_table(claim.name):
            raise LedgerDamaged(
                f"the ledger {shown(connection.engine.url)} has the table {claim.name!r}, and none that says which "
                "version its tables have (alembic_version); restore it from a backup, or name an empty database"
            )
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version
