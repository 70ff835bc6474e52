"""The queue of campaigns whose requests are decided later.

Failure policy: a request that cannot be put there is refused, or answered `unknown` where nobody can tell.
What is lost there makes nobody lose: the ledger alone confirms, nobody who waits was told that they won, and
whoever finds that they wait no longer and have nothing asks again.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from ..domain.campaign import NO_POOL
from ..domain.claim import ClaimRequest, Granted, Queued
from ..domain.outcome import Refusal
from .pending import Pending

Enqueued = Queued | Refusal


class QueueState(msgspec.Struct, frozen=True, gc=False):
    """What the queue knows of a person in a campaign.

    `pending` says whether a request of theirs waits; None where the queue cannot be asked.  `outcome` and
    `reason` are those of the refusal that was decided last, `pool_id` is what it was about, until they ask again
    or some time has passed; else they are empty.
    """

    pending: bool | None
    outcome: str = ""
    reason: str = ""
    pool_id: int = NO_POOL


class ClaimQueue(Protocol):
    """The end of those who ask.  Owned by one event loop."""

    def put(self, request: ClaimRequest) -> Enqueued | Pending[Enqueued]:
        """Let a request wait.

        A person has one place for each Idempotency-Key, and one for each pool that they ask for without a
        key: asking again while it is not decided changes nothing.
        """
        ...

    async def state_of(self, campaign_id: int, person: bytes) -> QueueState: ...


class Which(StrEnum):
    """What a consumer takes from the queue."""

    NEW = "new"
    """What nobody has taken yet."""
    OWN = "own"
    """What it took before and has not settled, before its restart too."""
    ABANDONED = "abandoned"
    """What some consumer took so long ago that it must have died."""


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A request that was taken; `place` and `mark` are how the queue finds it again.

    `request` has a key, whether the client sent one or not: deciding it twice gives the same claim.
    """

    place: bytes
    mark: bytes
    request: ClaimRequest


class Taken(msgspec.Struct, frozen=True):
    """`length` counts what is not settled, taken or not; the first of it has waited for `age_s`."""

    waiting: list[Waiting]
    length: int
    age_s: float


class WaitingClaims(Protocol):
    """The end of those who decide.  Calls block, and raise GateAway or LedgerError; owned by one thread."""

    def take(self, campaign_id: int, which: Which, limit: int) -> Taken:
        """The first `limit` of a campaign's requests; they stay in the queue until they are settled."""
        ...

    def settle(self, campaign_id: int, decided: Sequence[tuple[Waiting, Granted | Refusal]]) -> None:
        """Take what was decided, and committed, out of the queue, and keep its refusals; twice is as good as once."""
        ...

    def close(self) -> None: ...
