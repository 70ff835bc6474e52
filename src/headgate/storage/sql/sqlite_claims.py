"""Claims on the embedded SQLite ledger.

The statements are written by hand: this transaction is the product's hot path, and building them
through a query compiler for every batch costs more than running them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...domain.allocation import Record, Rules, allocate
from ...domain.campaign import NO_POOL, Control, window_refusal
from ...domain.claim import CLAIM_LIFE, LIVE, Claim, ClaimRequest, Granted, PersonKey, Status
from ...domain.event import EventKind
from ...domain.naming import ENTROPY_PER_CLAIM, ClaimNames
from ...domain.outcome import REDEEMED, UNKNOWN_CLAIM, Refusal
from ...ports.clock import Clock
from ...ports.entropy import Entropy
from ...ports.ledger import BatchResult, LedgerDamaged, PoolStock
from .sqlite import connect, immediate, meaning, reading

# Of None the driver asks at every value whether somebody adapts it, which takes as long as storing it;
# so there is a statement for claims without an Idempotency-Key.  The same holds for `bytes`, and blobs
# go to the driver as bytearrays.
_INSERT = (
    "INSERT INTO claim (seq, id, campaign_id, pool_id, person, ordinal, status, code, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?, 'confirmed', ?, ?)"
)
_INSERT_KEYED = (
    "INSERT INTO claim (seq, id, campaign_id, pool_id, person, ordinal, status, code, created_at, key_digest,"
    " body_digest) VALUES (?, ?, ?, ?, ?, ?, 'confirmed', ?, ?, ?, ?)"
)
_RECORDS = (
    "SELECT claim.id, claim.seq, pool.code, claim.ordinal, claim.status, claim.code, claim.created_at,"
    " claim.pool_id, claim.key_digest, claim.body_digest"
    " FROM claim JOIN pool ON pool.id = claim.pool_id WHERE claim.campaign_id = ? AND claim.person = ?"
    " ORDER BY claim.seq"
)
_TAKE = "UPDATE pool SET remaining = remaining - ?1, version = version + 1 WHERE id = ?2 AND remaining >= ?1"
_ANNOUNCE = "INSERT INTO outbox (at, kind, first_seq, last_seq) VALUES (?, ?, ?, ?)"
_PARAMETERS_MAX = 500
"""Ids in one IN list; well below SQLite's limit of 32,766 parameters, and batches are smaller."""

_Row = tuple[int, str, int, int, bytearray, int, str, int]
_KeyedRow = tuple[int, str, int, int, bytearray, int, str, int, bytearray, bytearray]


def _record(row: tuple[str, int, str, int, str, str, int, int, bytes | None, bytes | None]) -> Record:
    id_, seq, pool_code, ordinal, status, code, created_at, pool_id, key_digest, body_digest = row
    claim = Claim(id_, seq, pool_code, ordinal, Status(status), code, created_at)
    return Record(claim, pool_id, key_digest, body_digest)


class _PoolRow(NamedTuple):
    id: int
    campaign_id: int
    remaining: int
    code: str
    version: int


class _Decision(NamedTuple):
    """What a batch comes to: the answers, the claims to insert, (units, pool id) to take, stock afterwards."""

    decisions: list[Granted | Refusal]
    minted: _Minter
    taken: list[tuple[int, int]]
    stock: list[PoolStock]


class _Minter:
    """Makes the claims of one batch and the rows to insert."""

    def __init__(self, count: int, last_seq: int, now_ms: int, entropy: Entropy, codes: dict[int, str]) -> None:
        self.count = 0
        self.first_seq = last_seq + 1
        self.now_ms = now_ms
        self._rows: list[_Row] = []
        self._keyed_rows: list[_KeyedRow] = []
        self._names = ClaimNames(entropy.token_bytes(ENTROPY_PER_CLAIM * count), count, last_seq + 1)
        self._codes = codes

    def __call__(self, request: ClaimRequest, ordinal: int) -> Claim:
        index = self.count
        self.count = index + 1
        seq = self.first_seq + index
        id_ = self._names.id_of(index)
        code = self._names.code_of(index)
        pool_id = request.pool_id
        row = (seq, id_, request.campaign_id, pool_id, bytearray(request.person), ordinal, code, self.now_ms)
        if request.key_digest is None or request.body_digest is None:
            self._rows.append(row)
        else:
            self._keyed_rows.append((*row, bytearray(request.key_digest), bytearray(request.body_digest)))
        return Claim(id_, seq, self._codes[pool_id], ordinal, Status.CONFIRMED, code, self.now_ms)

    def insert(self, connection: sqlite3.Connection) -> None:
        if self._rows:
            connection.executemany(_INSERT, self._rows)
        if self._keyed_rows:
            connection.executemany(_INSERT_KEYED, self._keyed_rows)


class SqliteClaims:
    """One connection to the ledger; see `headgate.ports.ledger.ClaimLedger` for what the calls promise."""

    def __init__(self, path: Path, clock: Clock, entropy: Entropy) -> None:
        self._path = path
        self._clock = clock
        self._entropy = entropy
        self._connection = connect(path)
        # The batch itself reads campaign and pool in its transaction, which is all that the foreign
        # keys of a claim could check again, once for every row.
        self._connection.execute("PRAGMA foreign_keys = OFF")
        self._data_version: int | None = None
        self._granting = True

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        if not self._granting:
            # After a batch that gave nothing the next one rarely does, and then it needs no write lock
            # that other workers wait for.
            with reading(self._connection, self._path):
                decision = self._decide(batch, fresh)
            if not decision.minted.count:
                return BatchResult(decision.decisions, [])
        try:
            return self._write(batch, fresh)
        except sqlite3.IntegrityError:
            # Somebody whom the gate took for new has a claim: look everybody up.
            return self._write_known(batch)

    def _write_known(self, batch: Sequence[ClaimRequest]) -> BatchResult:
        try:
            return self._write(batch, [False] * len(batch))
        except sqlite3.IntegrityError as error:
            raise LedgerDamaged(
                f"the ledger {self._path} contradicts itself: {error}; stop, and run `headgate audit` on its campaigns"
            ) from error

    def _write(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        with immediate(self._connection, self._path):
            decision = self._decide(batch, fresh)
            minted = decision.minted
            minted.insert(self._connection)
            if minted.count:
                last_seq = minted.first_seq + minted.count - 1
                self._announce(EventKind.CONFIRMED, minted.first_seq, last_seq, minted.now_ms)
            if decision.taken:
                updated = self._connection.executemany(_TAKE, decision.taken).rowcount
                if updated != len(decision.taken):
                    raise sqlite3.IntegrityError("stock changed inside the transaction")
        self._granting = bool(decision.minted.count)
        return BatchResult(decision.decisions, decision.stock)

    def _announce(self, kind: EventKind, first_seq: int, last_seq: int, at_ms: int) -> None:
        """Write what others are to be told, in the transaction that it tells of."""
        self._connection.execute(_ANNOUNCE, (at_ms, kind, first_seq, last_seq))

    def _decide(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> _Decision:
        held = self._held(request for request, is_fresh in zip(batch, fresh, strict=True) if not is_fresh)
        decision = self._allocated(batch, dict(held))
        # A claim of somebody who was believed to have none is found by its unique key when another one is
        # written, but nothing is written for a refusal, and it must not go to somebody who has a claim.
        refused = self._held(
            request
            for request, is_fresh, decided in zip(batch, fresh, decision.decisions, strict=True)
            if is_fresh and isinstance(decided, Refusal)
        )
        return self._allocated(batch, held | refused) if any(refused.values()) else decision

    def _held(self, requests: Iterable[ClaimRequest]) -> dict[PersonKey, list[Record]]:
        return {
            (request.campaign_id, request.person): self._records(request.campaign_id, request.person)
            for request in requests
        }

    def _allocated(self, batch: Sequence[ClaimRequest], held: dict[PersonKey, list[Record]]) -> _Decision:
        """What comes of the batch for persons who hold what `held` says, and nothing where it does not name them."""
        now_ms = self._clock.now_ms()
        rules = self._rules({request.campaign_id for request in batch})
        pools = self._pools({request.pool_id for request in batch})
        (last_seq,) = self._connection.execute("SELECT coalesce(max(seq), 0) FROM claim").fetchone()
        codes = {pool_id: pool.code for pool_id, pool in pools.items()}
        stock = {pool_id: (pool.campaign_id, pool.remaining) for pool_id, pool in pools.items()}
        mint = _Minter(len(batch), last_seq, now_ms, self._entropy, codes)
        decisions = allocate(batch, rules, stock, held, now_ms, mint)
        taken, changed = [], []
        # Sorted, as every engine with row locks needs it against deadlocks.
        for pool_id in sorted(pools):
            pool, after = pools[pool_id], stock[pool_id][1]
            if after != pool.remaining:
                taken.append((pool.remaining - after, pool_id))
                changed.append(PoolStock(pool.campaign_id, pool_id, after, pool.version + 1))
        return _Decision(decisions, mint, taken, changed)

    def cancel(self, campaign_id: int, person: bytes, claim_id: str) -> tuple[Claim | Refusal, list[PoolStock]]:
        with immediate(self._connection, self._path):
            for record in self._records(campaign_id, person):
                if record.claim.id == claim_id:
                    break
            else:
                return UNKNOWN_CLAIM, []
            claim = record.claim
            if (claim.status, "cancel") not in CLAIM_LIFE:
                return (claim if claim.status not in LIVE else REDEEMED), []
            now_ms = self._clock.now_ms()
            self._connection.execute(
                "UPDATE claim SET status = ?, ordinal = -seq, ended_at = ? WHERE seq = ?",
                (Status.CANCELLED, now_ms, claim.seq),
            )
            self._announce(EventKind.CANCELLED, claim.seq, claim.seq, now_ms)
            remaining, version = self._connection.execute(
                "UPDATE pool SET remaining = remaining + 1, version = version + 1 WHERE id = ?"
                " RETURNING remaining, version",
                (record.pool_id,),
            ).fetchone()
        ended = Claim(
            claim.id, claim.seq, claim.pool_code, -claim.seq, Status.CANCELLED, claim.code, claim.created_at_ms
        )
        return ended, [PoolStock(campaign_id, record.pool_id, remaining, version)]

    def claims_of(self, persons: Collection[PersonKey]) -> dict[PersonKey, list[Claim]]:
        try:
            return {key: [record.claim for record in self._records(*key)] for key in persons}
        except sqlite3.Error as error:
            raise meaning(error, self._path, committing=False) from error

    def versions(self) -> dict[int, int]:
        return dict(self._select("SELECT id, version FROM campaign"))

    def stock_of(self, campaign_id: int) -> list[PoolStock]:
        rows = self._select("SELECT campaign_id, id, remaining, version FROM pool WHERE campaign_id = ?", campaign_id)
        return [PoolStock(*row) for row in rows]

    def pulse(self, pool_ids: Collection[int]) -> tuple[int, dict[int, int]]:
        # One statement, so one moment: the last claim comes as the row without a pool.
        marks = ",".join("?" * len(pool_ids))
        rows = self._select(
            "SELECT 0, coalesce(max(seq), 0), '', 0, 0 FROM claim UNION ALL"  # noqa: S608 -- only question marks are put in
            " SELECT pool.id, pool.remaining, campaign.control, campaign.opens_at, campaign.closes_at FROM pool"
            f" JOIN campaign ON campaign.id = pool.campaign_id WHERE pool.id IN ({marks})",
            *pool_ids,
        )
        now_ms, last_seq, units = self._clock.now_ms(), 0, {}
        for pool_id, number, control, opens_at_ms, closes_at_ms in rows:
            if pool_id == NO_POOL:
                last_seq = number
            elif window_refusal(Control(control), opens_at_ms, closes_at_ms, now_ms) is None:
                units[pool_id] = number
        return last_seq, units

    def claimants(self, campaign_id: int, after: int, up_to: int, limit: int) -> list[tuple[int, bytes]]:
        return self._select(
            "SELECT seq, person FROM claim WHERE campaign_id = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            campaign_id, after, up_to, limit,
        )  # fmt: skip

    def persons_of(self, campaign_id: int) -> list[bytes]:
        return [person for (person,) in self._select("SELECT person FROM claim WHERE campaign_id = ?", campaign_id)]

    def changed(self) -> bool:
        ((version,),) = self._select("PRAGMA data_version")
        before, self._data_version = self._data_version, version
        return bool(before != version)

    def _select(self, statement: str, *parameters: object) -> list[Any]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise meaning(error, self._path, committing=False) from error

    def close(self) -> None:
        self._connection.close()

    def _rules(self, campaign_ids: set[int]) -> dict[int, Rules]:
        found = {}
        for campaign_id in campaign_ids:
            row = self._connection.execute(
                "SELECT control, opens_at, closes_at, per_person FROM campaign WHERE id = ?", (campaign_id,)
            ).fetchone()
            if row is not None:
                control, opens_at, closes_at, per_person = row
                found[campaign_id] = Rules(Control(control), opens_at, closes_at, per_person)
        return found

    def _pools(self, pool_ids: set[int]) -> dict[int, _PoolRow]:
        wanted = list(pool_ids)
        found = {}
        for start in range(0, len(wanted), _PARAMETERS_MAX):
            part = wanted[start : start + _PARAMETERS_MAX]
            marks = ",".join("?" * len(part))
            for row in self._connection.execute(
                f"SELECT id, campaign_id, remaining, code, version FROM pool WHERE id IN ({marks})",  # noqa: S608 -- only question marks are put in
                part,
            ):
                found[row[0]] = _PoolRow(*row)
        return found

    def _records(self, campaign_id: int, person: bytes) -> list[Record]:
        return [_record(row) for row in self._connection.execute(_RECORDS, (campaign_id, person))]
