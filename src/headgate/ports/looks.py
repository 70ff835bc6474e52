"""Looks at the ledger that the workers of all nodes share: one looks, the others take over what it found.

Failure policy: open.  Where it is away, erased, too old or not whole, the ledger is looked at, which is slower and
never wrong.  What is found here is never believed over something newer: whoever takes it over compares versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ..domain.campaign import Campaign
from .ledger import PoolStock


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What the last look found: the version of each campaign, and of its stock (the sum of its pools' versions)."""

    versions: dict[int, int]
    stock: dict[int, int]


class Asked(NamedTuple):
    """`head` is None where nothing is there that is new enough; with `turn` the caller is to look, and to post."""

    head: Head | None
    turn: bool


class Parts(NamedTuple):
    """Campaigns as they are, and the stock of all pools of campaigns."""

    campaigns: Sequence[Campaign]
    stock: Mapping[int, list[PoolStock]]


class SharedLooks(Protocol):
    """Calls block, and raise GateAway; each object belongs to one thread."""

    def ask(self) -> Asked:
        """One caller at a time has the turn, until it has posted, or for as long as a look may take."""
        ...

    def fetch(self, campaign_ids: Sequence[int], stock_of: Sequence[int]) -> Parts | None:
        """These parts of what the head names; None where one is not there, and then nobody is given that head again."""
        ...

    def post(self, head: Head, parts: Parts, age_s: float) -> bool:
        """Show what the caller found in its turn, `age_s` seconds after its look began.

        `parts` is what the head that it was given does not name, or everything where it was given none.  False, and
        nothing is shown, where the turn has passed to somebody else.
        """
        ...

    def close(self) -> None: ...
