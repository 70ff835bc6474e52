"""A gate that many nodes share: who has claimed, up to a place in the ledger's order.

Failure policy: open.  Where it is away, erased or behind, the ledger is asked.  It is never believed by
itself: whoever asks it compares its place with the ledger's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

NOWHERE = -1
"""The place of a gate that knows nothing of a campaign."""


class Seen(NamedTuple):
    """`known[i]` says whether person i has a claim among those up to `up_to`, or had one."""

    up_to: int
    known: list[bool]


class SharedGate(Protocol):
    """Calls block, and raise GateAway.  A place is the `seq` of a ledger's claim; NOWHERE after an erasure."""

    def seen(self, campaign_id: int, persons: Sequence[bytes]) -> Seen:
        """Both at one moment."""
        ...

    def place(self, campaign_id: int) -> int: ...

    def follow(self, campaign_id: int, after: int, up_to: int, persons: Sequence[bytes]) -> bool:
        """Take over everybody who claimed in (after, up_to], all or nothing.

        False, and nothing is changed, where the gate is not at `after` (any more).  Doing it twice changes nothing.
        """
        ...

    def erase(self, campaign_id: int) -> None: ...
