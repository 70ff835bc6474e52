"""How every connection to the embedded SQLite ledger is opened, and what its errors mean."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ...ports.ledger import LedgerBroken, LedgerError, LedgerInDoubt, LedgerUnavailable

BUSY_TIMEOUT_S = 5.0
"""How long a writer waits for the other writers of the file; a batch holds the lock for milliseconds."""

CACHE_KIB = 65_536
"""Page cache of one connection: holds the right edge of every index and what a rush touches again."""

CHECKPOINT_PAGES = 16_384
"""64 MiB of write-ahead log between checkpoints: pages that change often are then written back once."""

JOURNAL_LIMIT_BYTES = 134_217_728
"""What a checkpoint leaves of the write-ahead log on disk."""

# Primary result codes, https://www.sqlite.org/rescode.html
_IOERR, _CORRUPT, _NOTADB = 10, 11, 26


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode whose commits are on disk when they return (WAL, synchronous=FULL)."""
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        configure(connection)
    except sqlite3.Error as error:
        raise meaning(error, path, committing=False) from error
    return connection


def configure(connection: sqlite3.Connection) -> None:
    """The pragmas of every connection; raises sqlite3.Error."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    cursor.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def meaning(error: sqlite3.Error, path: Path, *, committing: bool) -> LedgerError:
    """What an error of SQLite means for a claim.

    A full disk or a lock that did not come leaves nothing behind.  An I/O error while committing leaves
    doubt: the sync is never tried again, because the kernel may have dropped the pages that failed.
    """
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    said = f"the ledger {path} answered: {error}"
    if primary in (_CORRUPT, _NOTADB):
        return LedgerBroken(f"{said}; stop, and run `headgate doctor` on this data directory")
    if primary == _IOERR and committing:
        return LedgerBroken(f"{said}; the last commit is in doubt, restart to recover from what is on disk")
    if committing and not isinstance(error, sqlite3.OperationalError):
        return LedgerInDoubt(said)
    return LedgerUnavailable(f"{said}; nothing was written")


@contextlib.contextmanager
def immediate(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """A write transaction: committed at the end, rolled back on any error; raises LedgerError.

    sqlite3.IntegrityError passes through: it is an answer, not a fault.
    """
    committing = False
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        committing = True
        connection.execute("COMMIT")
    except sqlite3.IntegrityError:
        _roll_back(connection)
        raise
    except sqlite3.Error as error:
        _roll_back(connection)
        raise meaning(error, path, committing=committing) from error
    except BaseException:
        _roll_back(connection)
        raise


@contextlib.contextmanager
def reading(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """A transaction that reads one snapshot and takes no write lock; raises LedgerError."""
    try:
        connection.execute("BEGIN")
        yield
    except sqlite3.Error as error:
        raise meaning(error, path, committing=False) from error
    finally:
        _roll_back(connection)


def _roll_back(connection: sqlite3.Connection) -> None:
    # SQLite has already rolled back by itself after some errors.
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
