"""Storage that fails on purpose."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable
from typing import Any

# Result codes of SQLite, https://www.sqlite.org/rescode.html
FULL = 13
IOERR_FSYNC = 10 | (4 << 8)
BUSY = 5


def _error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(f"injected failure {code}")
    error.sqlite_errorcode = code  # type: ignore[attr-defined,unused-ignore]
    return error


class FaultyConnection:
    """A connection of which one statement may be told to fail: before it runs, or (COMMIT) after it ran."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._fail_in: int | None = None
        self._code = FULL
        self._commit_then_fail = False

    def arm(self, rng: random.Random) -> None:
        """Let one of the next statements fail."""
        self._code = rng.choice([FULL, BUSY, IOERR_FSYNC])
        self._commit_then_fail = rng.random() < 0.3
        self._fail_in = None if self._commit_then_fail else rng.randint(1, 10)

    def disarm(self) -> None:
        self._fail_in = None
        self._commit_then_fail = False

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        if statement != "ROLLBACK":
            self._count()
        cursor = self._connection.execute(statement, *parameters)
        if statement == "COMMIT" and self._commit_then_fail:
            # The records are on disk, but the process is told that the sync failed.
            self._commit_then_fail = False
            raise _error(IOERR_FSYNC)
        return cursor

    def executemany(self, statement: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        self._count()
        return self._connection.executemany(statement, rows)

    def close(self) -> None:
        self._connection.close()

    def _count(self) -> None:
        if self._fail_in is None:
            return
        self._fail_in -= 1
        if self._fail_in == 0:
            self._fail_in = None
            raise _error(self._code)
