"""Strangers: people who ask a campaign that has nothing left, and most likely hold nothing of it themselves.

Once a launch is over they are nearly everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

TURNED_AWAY = -1
"""For certain they hold nothing, and get nothing whatever they ask for."""
LET_IN = 0
"""They may hold something, or get something: what they ask for has to be looked at.  Their address was counted."""
UNCOUNTED = -2
"""The same, and their address was not counted."""
UNANSWERED = -3
"""The ledger cannot be asked."""


class Strangers(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Some who ask the same campaign; `pool_ids` are all its pools.

    The request of `persons[i]` is counted with `counters[i]`, of which each allows `per_minute`; there are no counters
    where nothing is counted.
    """

    campaign_id: int
    pool_ids: list[int]
    persons: list[bytes]
    counters: list[bytes]
    per_minute: int


class Turned(NamedTuple):
    """`said[i]` answers person i: one of the above, or how long their address has to wait (ms, above 0).

    `uncounted` of those who were let in may not have been counted, because the gate has not answered.
    """

    said: list[int]
    uncounted: int


class Counts(Protocol):
    """Requests counted for all nodes.  Calls block, and raise GateAway."""

    def count(self, counters: Sequence[bytes], per_minute: int) -> list[int]:
        """Count one request with each; 0 where it may go on, else how long to wait (ms)."""
        ...


class TurnsAway(Protocol):
    """A doorkeeper.  Calls block, and raise LedgerError; each object belongs to one thread at a time."""

    def turn_away(self, strangers: Strangers) -> Turned: ...


class StrangerWriter(Protocol):
    """A doorkeeper that works elsewhere, while the event loop goes on."""

    def turn_away(self, strangers: Strangers, done: Callable[[Turned | Exception], None]) -> None:
        """`done` runs on the event loop."""
        ...
