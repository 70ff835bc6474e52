"""What a batch says to a server; every kind of server wants it said in its own way.

Rows are found by keys only: a server that has not counted a young table yet would otherwise read all of
it, more with every claim.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from ...domain.claim import Claim, ClaimRequest, PersonKey


class Minted(NamedTuple):
    """Claims to insert, and the requests that they were made for.

    The numbers of a batch follow each other, and all of it was created at one moment.
    """

    claims: list[Claim]
    requests: list[ClaimRequest]


class Taken(NamedTuple):
    """Units to take from a pool."""

    pool_id: int
    units: int


class Found(NamedTuple):
    """What a batch is decided by.  `now_s` is the server's clock (s), read after the lock was had.

    Rows of `rules`: id, control, opens_at, closes_at, per_person; of `pools`: id, campaign_id, remaining, code,
    version; of `records`: RECORD.
    """

    last_seq: int
    now_s: float
    rules: Sequence[Any]
    pools: Sequence[Any]
    records: Sequence[Any]


class RuleRow(NamedTuple):
    id: int
    control: str
    opens_at: int
    closes_at: int
    per_person: int


class PoolRow(NamedTuple):
    id: int
    campaign_id: int
    remaining: int
    code: str
    version: int


class RecordRow(NamedTuple):
    """RECORD, in its order."""

    campaign_id: int
    person: bytes
    id: str
    seq: int
    pool_code: str
    ordinal: int
    status: str
    code: str
    created_at: int
    pool_id: int
    key_digest: bytes | None
    body_digest: bytes | None


class PulseRow(NamedTuple):
    """A pool with the rules of its campaign."""

    pool_id: int
    remaining: int
    control: str
    opens_at: int
    closes_at: int


class Pulse(NamedTuple):
    """`now_s` is the server's clock (s)."""

    last_seq: int
    now_s: float
    pools: Sequence[PulseRow]


class Statements(Protocol):
    def read(self, connection: sa.Connection, batch: Sequence[ClaimRequest], *, lock: bool) -> Found:
        """Everything that decides the batch; with `lock` it stays so until this transaction ends."""
        ...

    def commit(self, connection: sa.Connection, minted: Minted, taken: Sequence[Taken]) -> None:
        """Insert the claims, count them, tell of them, take the units, and commit.

        Raises LedgerDamaged, and nothing is committed, where a pool has not so many units; LedgerInDoubt where nobody
        knows whether it is committed.
        """
        ...

    def pulse(self, connection: sa.Connection, pool_ids: Collection[int]) -> Pulse:
        """In one statement, so at one moment."""
        ...

    def records(self, connection: sa.Connection, persons: Collection[PersonKey]) -> Sequence[Any]:
        """Every claim of these persons; those of one person in the order of `seq`."""
        ...


STOCK_CHANGED = "stock changed inside the transaction that holds the ledger"

COLUMNS = "seq, id, campaign_id, pool_id, person, ordinal, code, created_at, key_digest, body_digest, status"
RECORD = (
    "claim.campaign_id, claim.person, claim.id, claim.seq, pool.code AS pool_code, claim.ordinal, claim.status,"
    " claim.code, claim.created_at, claim.pool_id, claim.key_digest, claim.body_digest"
)
