"""The gate: fast, allowed to be wrong, and able only to refuse.

Failure policy: a gate that was erased or is away admits everybody; the ledger decides.  It may be
rebuilt from the ledger at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from ..domain.outcome import Refusal


class GateUnusable(Exception):
    """A shared gate cannot be used; the message says which, what was found and what to do."""


class GateAway(GateUnusable):
    """It cannot be reached, or takes no writes at the moment; nodes do without it until it is back."""


class Admission(Enum):
    """How the ledger should treat an admitted request; a hint, never a permission."""

    FRESH = "fresh"
    """The gate knows every claim of the campaign, and this person has none."""
    ASK = "ask"
    """The person may have claims already: look before inserting."""


class Gate(Protocol):
    def admit(self, campaign_id: int, pool_id: int, person: bytes) -> Admission | Refusal:
        """Refuse only what the ledger would refuse for certain."""
        ...

    def knows(self, campaign_id: int, person: bytes) -> bool:
        """Whether this person may have a claim of the campaign; False only where that is certain."""
        ...

    def knows_all(self, campaign_id: int) -> bool:
        """Whether `knows` can be certain of anybody."""
        ...

    def learn_person(self, campaign_id: int, person: bytes) -> None:
        """Remember that the person may have a claim; called before the ledger is asked for one."""
        ...

    def rebuild(self, campaign_id: int, persons: Iterable[bytes]) -> None:
        """Take over everybody who has, or had, a claim, before the first claim of the campaign is admitted."""
        ...
