"""Claims on a ledger that many programs write: PostgreSQL, MySQL, MariaDB.

Theory of operation.  Every transaction that writes first locks one row, `counter` of `claim.seq`, and
holds it until its commit.  So batches, cancellations and what operators do come one after the other, as
they do on SQLite: a batch reads what the one before it committed, no two of them lock pools in different
orders, claims are numbered as they are committed, and nothing is given away after a pause.  What a batch
costs under that lock is a handful of statements, whatever its size; the lock is what makes batches grow
where many programs want it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from ...domain.allocation import PersonKey, Record, Rules, allocate
from ...domain.campaign import Control
from ...domain.claim import CLAIM_LIFE, LIVE, Claim, ClaimRequest, Granted, Status
from ...domain.naming import ENTROPY_PER_CLAIM, ClaimNames
from ...domain.outcome import REDEEMED, UNKNOWN_CLAIM, Refusal
from ...ports.clock import Clock
from ...ports.entropy import Entropy
from ...ports.ledger import BatchResult, LedgerDamaged, PoolStock
from .engine import writing
from .schema import campaign, claim, counter, pool
from .server_statements import Row, Taken, statements_of
from .servers import SEQ, server_time

_RULES = sa.select(
    campaign.c.id, campaign.c.control, campaign.c.opens_at, campaign.c.closes_at, campaign.c.per_person
).where(campaign.c.id.in_(sa.bindparam("ids", expanding=True)))
_POOLS = sa.select(pool.c.id, pool.c.campaign_id, pool.c.remaining, pool.c.code, pool.c.version).where(
    pool.c.id.in_(sa.bindparam("ids", expanding=True))
)
_LAST_SEQ = sa.select(counter.c.value).where(counter.c.name == SEQ)
_COUNT = sa.update(counter).where(counter.c.name == SEQ).values(value=sa.bindparam("last"))


class _Minter:
    """Makes the claims of one batch and the rows to insert."""

    def __init__(self, count: int, last_seq: int, now_ms: int, entropy: Entropy, codes: dict[int, str]) -> None:
        self.rows: list[Row] = []
        self._first_seq = last_seq + 1
        self._now_ms = now_ms
        self._names = ClaimNames(entropy.token_bytes(ENTROPY_PER_CLAIM * count), count, last_seq + 1)
        self._codes = codes

    def __call__(self, request: ClaimRequest, ordinal: int) -> Claim:
        index = len(self.rows)
        made = Claim(
            self._names.id_of(index), self._first_seq + index, self._codes[request.pool_id], ordinal, Status.CONFIRMED,
            self._names.code_of(index), self._now_ms,
        )  # fmt: skip
        self.rows.append(
            Row(
                made.seq, made.id, request.campaign_id, request.pool_id, request.person, ordinal, made.code,
                self._now_ms, request.key_digest, request.body_digest,
            )
        )  # fmt: skip
        return made


class ServerClaims:
    """One thread's way to the ledger; see `headgate.ports.ledger.ClaimLedger` for what the calls promise.

    What the caller believes about persons (`fresh`) is not used: other programs write too, and one
    statement looks up everybody of a batch.
    """

    def __init__(self, engine: sa.Engine, clock: Clock | None, entropy: Entropy) -> None:
        """Without a `clock` that of the server decides."""
        self._engine = engine
        self._writing = writing(engine)
        # A batch that gives nothing needs no lock, but one moment for all that it reads.
        self._reading = engine.execution_options(isolation_level="REPEATABLE READ")
        self._clock = clock
        self._entropy = entropy
        self._last_seq_and_time = _LAST_SEQ.add_columns(server_time(engine.dialect.name))
        self._statements = statements_of(engine.dialect.name)
        self._granting = True
        self._known_versions: dict[int, int] | None = None

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:  # noqa: ARG002 -- see above
        if not self._granting:
            with self._reading.begin() as connection:
                decisions, minted, _, _ = self._decide(connection, batch)
            if not minted.rows:
                return BatchResult(decisions, [])
        try:
            return self._write(batch)
        except sa.exc.IntegrityError as error:
            raise LedgerDamaged(
                f"the ledger contradicts itself: {error.orig}; stop, and run `headgate audit` on its campaigns"
            ) from error

    def _write(self, batch: Sequence[ClaimRequest]) -> BatchResult:
        with self._writing.begin() as connection:
            decisions, minted, taken, changed = self._decide(connection, batch)
            if minted.rows:
                self._statements.insert(connection, minted.rows)
                if self._statements.take(connection, taken) != len(taken):
                    raise LedgerDamaged("stock changed inside the transaction that holds the ledger")
                connection.execute(_COUNT, {"last": minted.rows[-1].seq})
        self._granting = bool(minted.rows)
        return BatchResult(decisions, changed)

    def _decide(
        self, connection: sa.Connection, batch: Sequence[ClaimRequest]
    ) -> tuple[list[Granted | Refusal], _Minter, list[Taken], list[PoolStock]]:
        """(decisions, the claims to insert, units to take from pools, stock of those pools afterwards)."""
        last_seq, now_ms = self._moment(connection)
        rules = {
            row.id: Rules(Control(row.control), row.opens_at, row.closes_at, row.per_person)
            for row in connection.execute(_RULES, {"ids": sorted({request.campaign_id for request in batch})})
        }
        pools = {
            row.id: row for row in connection.execute(_POOLS, {"ids": sorted({request.pool_id for request in batch})})
        }
        held = self._held(connection, batch)
        codes = {pool_id: row.code for pool_id, row in pools.items()}
        stock = {pool_id: (row.campaign_id, row.remaining) for pool_id, row in pools.items()}
        mint = _Minter(len(batch), last_seq, now_ms, self._entropy, codes)
        decisions = allocate(batch, rules, stock, held, now_ms, mint)
        taken, changed = [], []
        for pool_id, row in sorted(pools.items()):
            after = stock[pool_id][1]
            if after != row.remaining:
                taken.append(Taken(pool_id, row.remaining - after))
                changed.append(PoolStock(row.campaign_id, pool_id, after, row.version + 1))
        return decisions, mint, taken, changed

    def _moment(self, connection: sa.Connection) -> tuple[int, int]:
        """The number of the last claim, and the time (ms)."""
        if self._clock is not None:
            return connection.execute(_LAST_SEQ).scalar_one(), self._clock.now_ms()
        seq, seconds = connection.execute(self._last_seq_and_time).one()
        return seq, int(seconds * 1000)

    def _held(self, connection: sa.Connection, batch: Iterable[ClaimRequest]) -> dict[PersonKey, list[Record]]:
        persons: dict[int, set[bytes]] = {}
        for request in batch:
            persons.setdefault(request.campaign_id, set()).add(request.person)
        held: dict[PersonKey, list[Record]] = {}
        for campaign_id, asking in persons.items():
            for row in self._statements.records(connection, campaign_id, list(asking)):
                held.setdefault((campaign_id, bytes(row.person)), []).append(_record(row))
        return held

    def cancel(self, campaign_id: int, person: bytes, claim_id: str) -> tuple[Claim | Refusal, list[PoolStock]]:
        with self._writing.begin() as connection:
            records = self._held(connection, [ClaimRequest(campaign_id, 0, person)]).get((campaign_id, person), [])
            for record in records:
                if record.claim.id == claim_id:
                    break
            else:
                return UNKNOWN_CLAIM, []
            held = record.claim
            if (held.status, "cancel") not in CLAIM_LIFE:
                return (held if held.status not in LIVE else REDEEMED), []
            connection.execute(
                sa.update(claim)
                .where(claim.c.seq == held.seq)
                .values(status=Status.CANCELLED, ordinal=-held.seq, ended_at=self._moment(connection)[1])
            )
            connection.execute(
                sa.update(pool)
                .where(pool.c.id == record.pool_id)
                .values(remaining=pool.c.remaining + 1, version=pool.c.version + 1)
            )
            after = connection.execute(_POOLS, {"ids": [record.pool_id]}).one()
        ended = Claim(held.id, held.seq, held.pool_code, -held.seq, Status.CANCELLED, held.code, held.created_at_ms)
        return ended, [PoolStock(campaign_id, record.pool_id, after.remaining, after.version)]

    def claims_of(self, campaign_id: int, person: bytes) -> list[Claim]:
        with self._engine.connect() as connection:
            held = self._held(connection, [ClaimRequest(campaign_id, 0, person)])
        return [record.claim for record in held.get((campaign_id, person), [])]

    def versions(self) -> dict[int, int]:
        with self._engine.connect() as connection:
            return {row.id: row.version for row in connection.execute(sa.select(campaign.c.id, campaign.c.version))}

    def stock_of(self, campaign_id: int) -> list[PoolStock]:
        statement = sa.select(pool.c.campaign_id, pool.c.id, pool.c.remaining, pool.c.version)
        with self._engine.connect() as connection:
            return [PoolStock(*row) for row in connection.execute(statement.where(pool.c.campaign_id == campaign_id))]

    def persons_of(self, campaign_id: int) -> list[bytes]:
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(claim.c.person).where(claim.c.campaign_id == campaign_id))
            return [bytes(row.person) for row in rows]

    def changed(self) -> bool:
        """Whether any campaign's stock or claims have changed since the last call, whoever did it."""
        statement = sa.select(pool.c.campaign_id, sa.func.sum(pool.c.version)).group_by(pool.c.campaign_id)
        with self._engine.connect() as connection:
            found = {int(row[0]): int(row[1]) for row in connection.execute(statement)}
        before, self._known_versions = self._known_versions, found
        return before != found

    def close(self) -> None:
        self._engine.dispose()


def _record(row: Any) -> Record:
    held = Claim(row.id, row.seq, row.pool_code, row.ordinal, Status(row.status), row.code, row.created_at)
    digests = [None if digest is None else bytes(digest) for digest in (row.key_digest, row.body_digest)]
    return Record(held, row.pool_id, *digests)
