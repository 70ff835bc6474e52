"""Whether a ledger file can be trusted, asked before anything is served from it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...ports.ledger import LedgerDamaged

_SAID_MAX = 3
"""Findings that a message shows; the first one says where to look."""


def check_file(path: Path) -> None:
    """Raises LedgerDamaged, naming the place, for a file that is no SQLite database or contradicts itself."""
    if not path.exists():
        return
    if not path.stat().st_size:
        raise LedgerDamaged(
            f"the ledger {path} is empty, with not even a header; restore it from a backup, or remove it to begin anew"
        )
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            found = [row[0] for row in connection.execute("PRAGMA quick_check(10)")]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise LedgerDamaged(
            f"the ledger {path} is no readable SQLite database ({error}); restore it from a backup, "
            "or move it away to begin with an empty one"
        ) from error
    if found != ["ok"]:
        raise LedgerDamaged(f"the ledger {path} is damaged: {'; '.join(found[:_SAID_MAX])}; restore it from a backup")
