"""What others are told about claims.

An event is the same whenever it is read: nothing of it changes with what becomes of its claim later.  It
names no person, and no code that somebody could collect with.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec

from .claim import Status


class EventKind(StrEnum):
    CONFIRMED = "claim.confirmed"
    CANCELLED = "claim.cancelled"

    @property
    def status(self) -> Status:
        """What the claim became; each claim becomes it once at most."""
        return _BECAME[self]


_BECAME = {EventKind.CONFIRMED: Status.CONFIRMED, EventKind.CANCELLED: Status.CANCELLED}


class Position(NamedTuple):
    """An event's place in the order of commits: its row of the outbox, and its number among those of the row."""

    row: int
    offset: int

    def __str__(self) -> str:
        return f"{self.row}-{self.offset}"


BEGINNING = Position(0, 0)
"""Before every event: rows are counted from 1."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """`campaign` is a slug, `pool` a code; `at_ms` is when it was committed."""

    position: Position
    kind: EventKind
    at_ms: int
    claim_id: str
    campaign: str
    pool: str

    @property
    def id(self) -> str:
        """The same however often it is told, and no other event's."""
        return f"{self.claim_id}.{self.kind.status}"
