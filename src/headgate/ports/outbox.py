"""What was committed together with decisions, to be told to others, and how far each of them has been told.

Failure policy: nothing is told before its commit, and nothing is forgotten.  An outbox that cannot be read
raises LedgerError, and whoever reads it asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..domain.event import Event, Position


class Outbox(Protocol):
    """Calls block; each object belongs to one thread at a time."""

    def events(self, after: Position, limit: int) -> list[Event]:
        """The next events in the order of commits, `limit` of them at most; what `after` names need not exist."""
        ...

    def begin(self, name: str) -> Position:
        """How far a destination has been told; one that is named for the first time begins at the end."""
        ...

    def advance(self, name: str, position: Position) -> None:
        """Everything up to `position` has been delivered.  Never backwards, whoever is late with it."""
        ...

    def waiting_since(self, name: str) -> int | None:
        """When the oldest event was committed that the destination has not got (ms); None where it has all."""
        ...

    def prune(self, before_ms: int, limit: int) -> Sequence[str] | None:
        """Forget what was committed before that moment, oldest first, `limit` rows at most.

        Names the destinations that had not got all of it; None where nothing was that old.
        """
        ...
