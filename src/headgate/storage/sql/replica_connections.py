"""Connections to replicas: they only read, nobody waits for them long, and each read asks first how old it would be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from ...ports.replicas import ReplicaAway
from .bounded import BoundedConnection
from .servers import POOL_SIZE, POOL_WAIT_S

CONNECT_S = 2
"""The least that libpq knows.  Replicas are connected to beside their readers, which don't wait for it."""


def open_replica(url: sa.URL, patience_s: float, admit: Callable[[sa.Connection], None]) -> sa.Engine:
    """An engine every transaction of which begins with `admit`; what goes wrong in one is ReplicaAway.

    `patience_s` is how long a statement may take.  The server need not be a replica: its sessions only read anyway.
    """
    postgresql = url.get_backend_name() == "postgresql"
    engine = sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        connect_args=_postgresql(patience_s) if postgresql else _mysql(patience_s),
    )

    if postgresql:

        @sa.event.listens_for(engine, "do_connect")
        def _connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> BoundedConnection:
            connection = BoundedConnection.connect(*arguments, **options)
            connection.answer_s = patience_s
            return connection

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        admit(connection)

    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: sa.engine.ExceptionContext) -> None:
        if isinstance(context.sqlalchemy_exception, sa.exc.DBAPIError):
            # Whatever it was, this connection may be in the middle of it.
            context.is_disconnect = True
            said = str(context.original_exception).strip()
            raise ReplicaAway(
                f"it does not answer as it should: {said}; look whether it runs, and at its URL in ledger.replica_urls"
            ) from context.original_exception

    return engine


def _postgresql(patience_s: float) -> dict[str, Any]:
    options = {
        "statement_timeout": round(patience_s * 1000),
        "idle_in_transaction_session_timeout": round(patience_s * 1000),
        "default_transaction_read_only": "on",
    }
    said = " ".join(f"-c {name}={value}" for name, value in options.items())
    return {"connect_timeout": CONNECT_S, "options": said}


def _mysql(patience_s: float) -> dict[str, Any]:
    return {
        "connect_timeout": CONNECT_S, "read_timeout": patience_s, "write_timeout": patience_s,
        "init_command": "SET SESSION TRANSACTION READ ONLY", "charset": "utf8mb4",
    }  # fmt: skip
