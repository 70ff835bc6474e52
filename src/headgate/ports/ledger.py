"""The ledger: exact and durable; the only part that confirms.

Failure policy: stock fails closed.  `LedgerUnavailable` means that nothing was written;
`LedgerInDoubt` means that a commit may or may not have happened, so the participant is told
`unknown`; `LedgerBroken` means that storage failed in a way after which this process must stop and
recover from disk (a failed sync is never retried).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from ..domain.campaign import Campaign, Control
from ..domain.claim import Claim, ClaimRequest, Granted, PersonKey
from ..domain.definition import CampaignDefinition
from ..domain.outcome import Refusal


class LedgerError(Exception):
    """Storage failed; the message says what happened, where, and what to do."""


class LedgerUnavailable(LedgerError):
    """Nothing was written; trying again later is safe."""


class LedgerUnusable(LedgerError):
    """The store does not keep what a ledger promises, and will not before somebody has changed it."""


class LedgerInDoubt(LedgerError):
    """The commit may or may not have happened."""


class LedgerBroken(LedgerInDoubt):
    """Storage can no longer be trusted by this process: stop, restart, recover."""


class LedgerDamaged(LedgerError):
    """The stored records contradict themselves; nothing is served from them."""


class LedgerSlow(Exception):
    """It keeps what it promises, and every commit takes long; the message says how long."""


class UnknownCampaign(LookupError):
    """No campaign has this slug."""


class UnknownPool(LookupError):
    """The campaign has no pool of this code."""


class SlugTaken(ValueError):
    """A campaign of this slug exists."""


class PoolStock(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Committed stock of one pool: units that nobody holds, and the version that counts its changes."""

    campaign_id: int
    pool_id: int
    remaining: int
    version: int


class BatchResult(msgspec.Struct, frozen=True):
    """`decisions[i]` answers request i of the batch; `stock` is the committed stock of every pool that changed."""

    decisions: list[Granted | Refusal]
    stock: list[PoolStock]


class Tally(msgspec.Struct, frozen=True):
    """A re-count of one campaign from the ledger's rows alone (units)."""

    capacity: int
    confirmed: int
    held: int
    redeemed: int
    cancelled: int
    expired: int
    available: int
    duplicates: int
    oversold: int
    unbalanced_pools: int
    """Pools whose units and live claims do not make up their capacity."""

    @property
    def ok(self) -> bool:
        balanced = self.available + self.held + self.confirmed + self.redeemed == self.capacity
        return (
            balanced
            and self.unbalanced_pools == 0
            and self.duplicates == 0
            and self.oversold == 0
            and self.available >= 0
        )


class ClaimRow(msgspec.Struct, frozen=True, gc=False):
    """One claim as the operator's export shows it; `person` is the pseudonymous id in hex."""

    seq: int
    id: str
    pool: str
    person: str
    ordinal: int
    status: str
    code: str
    created_at_ms: int


class DecidingLedger(Protocol):
    """What decides about claims.  Calls block; each object belongs to one thread at a time."""

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        """Decide a batch in one durable transaction; returns only after the commit is on disk.

        `fresh[i]` says that the caller believes the person of request i to have no claim yet; a wrong
        belief costs time, never exactness.
        """
        ...

    def cancel(self, campaign_id: int, person: bytes, claim_id: str) -> tuple[Claim | Refusal, list[PoolStock]]:
        """Cancel the person's own claim and return its unit; a second cancellation changes nothing."""
        ...

    def close(self) -> None: ...


class ClaimLedger(DecidingLedger, Protocol):
    """The hot side."""

    def claims_of(self, persons: Collection[PersonKey]) -> dict[PersonKey, list[Claim]]:
        """For each of these persons, none named twice, every claim that they have or had, oldest first."""
        ...

    def versions(self) -> dict[int, int]:
        """The version of every campaign by its id; cheap, to ask several times a second."""
        ...

    def stock_of(self, campaign_id: int) -> list[PoolStock]:
        """Committed stock of every pool of the campaign."""
        ...

    def pulse(self, pool_ids: Collection[int]) -> tuple[int, dict[int, int]]:
        """The `seq` of the last claim (0 for none), and the units left in these pools, at one moment; cheap.

        Pools of campaigns that take no claims at that moment are left out.
        """
        ...

    def claimants(self, campaign_id: int, after: int, up_to: int, limit: int) -> list[tuple[int, bytes]]:
        """(seq, person) of the campaign's claims in (after, up_to], the first `limit` of them by seq."""
        ...

    def persons_of(self, campaign_id: int) -> list[bytes]:
        """Everybody who has, or had, a claim of the campaign (repetitions possible)."""
        ...

    def changed(self) -> bool:
        """Whether another process has committed anything since the last call (True on the first)."""
        ...


Settled = Callable[[BatchResult | Exception], None]
Cancelled = Callable[[tuple[Claim | Refusal, list[PoolStock]] | Exception], None]


class LedgerWriter(Protocol):
    """A `ClaimLedger` that works elsewhere, one call after the other, while the event loop goes on.

    The callbacks run on the event loop, with the result or with the exception that was raised.
    """

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool], done: Settled) -> None: ...

    def cancel(self, campaign_id: int, person: bytes, claim_id: str, done: Cancelled) -> None: ...


class CampaignLedger(Protocol):
    """The cold side: operators, the keeper, reports."""

    def create(self, definition: CampaignDefinition, *, actor: str) -> Campaign:
        """All of it or nothing; raises SlugTaken."""
        ...

    def campaigns(self) -> list[Campaign]: ...

    def campaign_by_id(self, campaign_id: int) -> Campaign: ...

    def campaign(self, slug: str) -> Campaign:
        """Raises UnknownCampaign."""
        ...

    def stock(self, campaign_id: int) -> list[PoolStock]: ...

    def control(self, slug: str, control: Control, *, expected: Control, command: str, actor: str) -> Campaign | None:
        """The campaign under its new control; None, and nothing is changed, where it is not `expected` any more."""
        ...

    def topup(self, slug: str, pool_code: str, units: int, *, actor: str) -> PoolStock:
        """Add units to a pool; raises UnknownPool, or ValueError where the pool would grow too large."""
        ...

    def tally(self, slug: str) -> Tally: ...

    def claim_count(self, slug: str) -> int: ...

    def claims_after(self, wanted: Campaign, seq: int, limit: int) -> list[ClaimRow]:
        """The campaign's claims beyond `seq`, the first `limit` of them in the order of commitment."""
        ...


class Lease(msgspec.Struct, frozen=True):
    """The right to do what must be done once; `epoch` is the fencing token (grows with every new holder)."""

    name: str
    holder: str
    epoch: int
    expires_at_ms: int


class LeaseLedger(Protocol):
    def acquire(self, name: str, holder: str, ttl_ms: int) -> Lease | None:
        """Take or renew the lease; None while another holder's has not expired."""
        ...

    def release(self, lease: Lease) -> None:
        """Give the lease back at once; nothing where it was lost meanwhile."""
        ...
