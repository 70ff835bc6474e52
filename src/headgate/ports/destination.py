"""Whom events are told to: a webhook, a stream, later a message broker.

Failure policy: at least once, and in order.  What was not delivered for certain is delivered again, so that
a destination may get an event twice, with the same id.  One that fails holds up nobody but itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..domain.event import Event, Position


class NotDelivered(Exception):
    """Whether anything arrived is not known; the message says what happened and names no secret."""


class Place(NamedTuple):
    """How far a destination has come by its own account; `event_id` is that of the last event, empty for none."""

    position: Position
    event_id: str


class Destination(Protocol):
    """Calls block, for some seconds at most; each object belongs to one thread."""

    name: str
    """By it the ledger remembers how far the destination has been told."""

    page: int
    """How many events it takes at once."""

    def place(self) -> Place | None:
        """None where it keeps no account, and the ledger's is what counts; raises NotDelivered."""
        ...

    def deliver(self, after: Position, events: Sequence[Event]) -> bool:
        """Take all of these, which follow `after`; returns when they are there.  Raises NotDelivered.

        False, and nothing is taken, where it keeps an account and is not at `after` (any more).
        """
        ...

    def close(self) -> None: ...


class Reachable(Destination, Protocol):
    def reach(self) -> None:
        """Connect, tell nothing and change nothing; raises NotDelivered."""
        ...
