"""The audit trail of operators' changes: a hash chain in the table `operation`."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa

from .schema import operation


def _digest(before: str, at_ms: int, actor: str, action: str, detail: dict[str, Any]) -> str:
    text = json.dumps([before, at_ms, actor, action, detail], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def record(connection: sa.Connection, *, at_ms: int, actor: str, action: str, detail: dict[str, Any]) -> None:
    """Append one operation in the caller's transaction."""
    before = connection.scalar(sa.select(operation.c.digest).order_by(operation.c.id.desc()).limit(1)) or ""
    digest = _digest(before, at_ms, actor, action, detail)
    connection.execute(sa.insert(operation).values(at=at_ms, actor=actor, action=action, detail=detail, digest=digest))


def first_broken(connection: sa.Connection) -> int | None:
    """The id of the first operation that was changed, or follows one that was removed; None where the chain holds."""
    before = ""
    for row in connection.execute(sa.select(operation).order_by(operation.c.id)):
        if _digest(before, row.at, row.actor, row.action, row.detail) != row.digest:
            return int(row.id)
        before = row.digest
    return None
