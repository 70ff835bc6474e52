"""Tells others what the outbox holds: each destination by itself, at least once, in the order of commits.

Theory of operation.  A relay reads a page behind the place that its destination has come to, delivers it,
and remembers the new place afterwards.  Whatever breaks in between, the page is delivered again; events keep
their ids, so that the effect can happen once.  A destination that keeps an account of its own (a stream) is
asked where it is, because it may have been erased or have fallen back; for the others the ledger keeps it.
Only who holds the keeper's lease relays.  A relay looks at the time by which that lease ends before every
page, so that nobody has to reach it: two of them at once deliver twice, and lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from ..domain.event import BEGINNING, Event, Position
from ..ports.destination import Destination, NotDelivered, Place
from ..ports.entropy import Entropy
from ..ports.ledger import LedgerBroken, LedgerError
from ..ports.outbox import Outbox

IDLE_S = 0.5
"""How often a relay that has told everything looks for more: as often as the keeper publishes."""

RETRY_MIN_S = 1.0
"""The first pause after a failure: longer than a receiver takes to be restarted by a supervisor of its own."""
RETRY_MAX_S = 60.0
"""The longest: a receiver that is back after an hour gets its events within a minute, and one that is gone costs
its host a request a minute.
"""
DOUBLED_MAX = 16
"""Beyond this the number would only grow, and the pause has long been the longest."""

REMEMBER_S = 1.0
"""A cursor is written once in so long while there is much to tell: each writing is a commit that claims wait for,
and what was told since the last one is told again after a kill.
"""

_log = structlog.get_logger("headgate.events")


class Tenure:
    """Until when this process may do what is done by one; it ends by itself.

    Extended by the keeper's thread, read by those of the relays.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        """`clock_s` never steps (seconds)."""
        self.clock_s = clock_s
        self._ends_s = float("-inf")

    def extend(self, ends_s: float) -> None:
        self._ends_s = ends_s

    def end(self) -> None:
        self._ends_s = float("-inf")

    def held(self) -> bool:
        return self.clock_s() < self._ends_s


class Relay:
    """One destination's; owned by one thread, which calls `step`."""

    def __init__(self, outbox: Outbox, destination: Destination, tenure: Tenure, entropy: Entropy) -> None:
        self._outbox = outbox
        self._destination = destination
        self._tenure = tenure
        self._entropy = entropy
        self._position: Position | None = None
        # What is being delivered, kept so that it is repeated as it was.
        self._page: list[Event] = []
        self._remembered = BEGINNING
        self._remembered_s = 0.0
        self._failures = 0
        self._failure = ""

    @property
    def name(self) -> str:
        return self._destination.name

    def step(self) -> float:
        """Deliver a page, or find out why not; how long to wait before the next one (s).  Raises LedgerBroken."""
        if not self._tenure.held():
            # Another process may go on from here, and this one after it.
            self._forget()
            return IDLE_S
        try:
            more = self._deliver()
        except LedgerBroken:
            raise
        except (NotDelivered, LedgerError) as error:
            return self._failed(str(error))
        self._went_well()
        return 0.0 if more else IDLE_S

    def stop(self) -> None:
        """Remember how far this has come."""
        try:
            if self._position is not None:
                self._remember(self._position)
        except LedgerError as error:
            _log.error("events_cursor_not_written", destination=self.name, error=str(error))
        self._destination.close()

    def _deliver(self) -> bool:
        """False where there was nothing to tell."""
        position = self._place()
        if self._tenure.clock_s() - self._remembered_s >= REMEMBER_S:
            self._remember(position)
        if not self._page:
            self._page = self._outbox.events(position, self._destination.page)
        if not self._page:
            self._remember(position)
            return False
        if self._destination.deliver(position, self._page):
            self._position = self._page[-1].position
        self._page = []
        return True

    def _place(self) -> Position:
        """How far the destination has come."""
        begins = self._position is None
        if self._position is None:
            self._position = self._remembered = self._outbox.begin(self.name)
        place = self._destination.place()
        if place is not None and (begins or place.position != self._position):
            if not self._has_told(place):
                self._forget()
                raise NotDelivered(
                    f"it is at {place.position} with {place.event_id!r}, which this ledger did not tell: it has events "
                    "of another ledger, or of this one before it was restored; erase it, and it is filled again"
                )
            self._position, self._page = place.position, []
        return self._position

    def _has_told(self, place: Place) -> bool:
        """Whether what the destination got last came from this ledger, as it is now.

        What another ledger told, or this one before it was restored from a backup, has the same numbers, and
        going on behind it would leave out what this ledger tells by them.
        """
        if place.position == BEGINNING:
            return True
        row, offset = place.position
        found = self._outbox.events(Position(row, offset - 1), 1)
        if found and found[0].position == place.position:
            return place.event_id in ("", found[0].id)
        # It is not there: forgotten, and so is everything before it; or it never was.
        oldest = self._outbox.events(BEGINNING, 1)
        return oldest[0].position > place.position if oldest else place.position <= self._outbox.begin(self.name)

    def _remember(self, position: Position) -> None:
        if position > self._remembered:
            self._outbox.advance(self.name, position)
            self._remembered = position
        self._remembered_s = self._tenure.clock_s()

    def _forget(self) -> None:
        self._position, self._page = None, []

    def _went_well(self) -> None:
        if self._failures:
            _log.info("events_delivered_again", destination=self.name, after_failures=self._failures)
        self._failures, self._failure = 0, ""

    def _failed(self, error: str) -> float:
        if error != self._failure:
            _log.error("events_not_delivered", destination=self.name, error=error)
        self._failure = error
        self._failures += 1
        longest_s = min(RETRY_MIN_S * 2.0 ** min(self._failures, DOUBLED_MAX), RETRY_MAX_S)
        # Half of it by chance, so that relays that failed together do not come back together.
        chance = int.from_bytes(self._entropy.token_bytes(2), "big") / 65_536
        return longest_s * (0.5 + chance / 2)
