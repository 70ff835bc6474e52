"""A destination of events that stays away, loses answers and falls back on purpose."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.event import BEGINNING, Event, Position
from ...ports.destination import NotDelivered, Place

PAGE = 3
"""So few that a run has many pages, and batches that lie in two of them."""


class SimulatedReceiver:
    """See `headgate.ports.destination.Destination`; one that keeps an account is held to the suite of real streams."""

    def __init__(self, name: str, *, accounts: bool) -> None:
        self.name = name
        self.page = PAGE
        self.got: list[Event] = []
        """Everything that ever arrived, in that order."""
        self.away = False
        self.loses_answers = False
        self._accounts = accounts
        self._entries: tuple[Event, ...] = ()
        self._replica: tuple[Event, ...] = ()

    def place(self) -> Place | None:
        self._answer()
        if not self._accounts:
            return None
        return Place(self._entries[-1].position, self._entries[-1].id) if self._entries else Place(BEGINNING, "")

    def deliver(self, after: Position, events: Sequence[Event]) -> bool:
        self._answer()
        if self._accounts and (self._entries[-1].position if self._entries else BEGINNING) != after:
            return False
        self.got += events
        self._entries += tuple(events)
        if self.loses_answers:
            raise NotDelivered("injected: the answer is lost")
        return True

    def close(self) -> None: ...

    def flush(self) -> None:
        """As by an operator, or a restart without anything on disk."""
        self._entries = ()

    def replicate(self) -> None:
        """Its replica has got everything up to now."""
        self._replica = self._entries

    def fail_over(self) -> None:
        """The replica takes over; what it had not got is lost."""
        self._entries = self._replica

    def _answer(self) -> None:
        if self.away:
            raise NotDelivered("injected: away")
