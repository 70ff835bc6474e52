"""The SQLAlchemy engine of the cold side."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from .schema import SCHEMA_VERSION
from .sqlite import BUSY_TIMEOUT_S, configure, meaning


def open_engine(path: Path) -> sa.Engine:
    """The engine for reading; `writing(engine)` is the same for transactions that write."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        json_serializer=lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    )

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


def upgrade(engine: sa.Engine) -> None:
    """Bring the schema to this program's version; raises SchemaTooNew where it is beyond it."""
    with engine.connect() as connection:
        if schema_version(connection) == SCHEMA_VERSION:
            return
    # Alembic takes a third of a second to import, and most starts have nothing to migrate.
    from .migrating import migrate  # noqa: PLC0415

    with writing(engine).begin() as connection:
        migrate(connection)


def schema_version(connection: sa.Connection) -> str | None:
    """The version of the schema that the ledger has; None for a new file."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version
