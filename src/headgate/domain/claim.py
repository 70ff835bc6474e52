"""A claim: what one person holds of one pool, and what can become of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

PersonKey = tuple[int, bytes]
"""(campaign id, person)"""


class Status(StrEnum):
    HELD = "held"
    CONFIRMED = "confirmed"
    REDEEMED = "redeemed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


# A live claim occupies a unit of its pool and one of its person's `per_person` places.
LIVE: frozenset[Status] = frozenset({Status.HELD, Status.CONFIRMED, Status.REDEEMED})

# The life cycle of a claim: (status or None before it exists, event) -> status.
CLAIM_LIFE: dict[tuple[Status | None, str], Status] = {
    (None, "hold"): Status.HELD,
    (None, "confirm"): Status.CONFIRMED,
    (Status.HELD, "confirm"): Status.CONFIRMED,
    (Status.HELD, "cancel"): Status.CANCELLED,
    (Status.HELD, "expire"): Status.EXPIRED,
    (Status.CONFIRMED, "cancel"): Status.CANCELLED,
    (Status.CONFIRMED, "redeem"): Status.REDEEMED,
}


class Claim(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One row of the ledger's `claim` table, as its owner may see it.

    `ordinal` is the place (1 … per_person) that a live claim occupies; a claim that ended has left
    its place and carries `-seq`.  `created_at_ms` is in milliseconds since the Unix epoch.
    """

    id: str
    seq: int
    pool_code: str
    ordinal: int
    status: Status
    code: str
    created_at_ms: int


class ClaimRequest(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What one person asks for.

    `person` is 16 bytes.  `key_digest` and `body_digest` are set where the request carried an
    Idempotency-Key: keyed digests, so that the ledger holds no text from outside.
    """

    campaign_id: int
    pool_id: int
    person: bytes
    key_digest: bytes | None = None
    body_digest: bytes | None = None


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A request that waits in a queue: it will be decided, and nobody knows yet how."""


QUEUED = Queued()


class Granted(msgspec.Struct, frozen=True, gc=False):
    """A committed claim; `repeated` where the person held it before this request."""

    claim: Claim
    repeated: bool
