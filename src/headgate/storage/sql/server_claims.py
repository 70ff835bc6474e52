"""Claims on a ledger that many programs write: PostgreSQL, MySQL, MariaDB.

Theory of operation.  Every transaction that writes first locks one row, `counter` of `claim.seq`, and
holds it until its commit.  So batches, cancellations and what operators do come one after the other, as
they do on SQLite: a batch reads what the one before it committed, no two of them lock pools in different
orders, claims are numbered as they are committed, and nothing is given away after a pause.  What a batch
costs under that lock is a handful of statements, whatever its size; the lock is what makes batches grow
where many programs want it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from ...domain.allocation import Record, Rules, allocate
from ...domain.campaign import Control, window_refusal
from ...domain.claim import CLAIM_LIFE, LIVE, Claim, ClaimRequest, Granted, PersonKey, Status
from ...domain.event import EventKind
from ...domain.naming import ENTROPY_PER_CLAIM, ClaimNames
from ...domain.outcome import REDEEMED, UNKNOWN_CLAIM, Refusal
from ...ports.clock import Clock
from ...ports.entropy import Entropy
from ...ports.ledger import BatchResult, PoolStock
from .engine import writing
from .schema import campaign, claim, outbox, pool
from .server_statements import Minted, Statements, Taken
from .servers import server_now_ms


class _Minter:
    """Makes the claims of one batch."""

    def __init__(self, count: int, last_seq: int, now_ms: int, entropy: Entropy, codes: dict[int, str]) -> None:
        self.minted = Minted([], [])
        self._first_seq = last_seq + 1
        self._now_ms = now_ms
        self._names = ClaimNames(entropy.token_bytes(ENTROPY_PER_CLAIM * count), count, last_seq + 1)
        self._codes = codes

    def __call__(self, request: ClaimRequest, ordinal: int) -> Claim:
        claims, requests = self.minted
        index = len(claims)
        made = Claim(
            self._names.id_of(index), self._first_seq + index, self._codes[request.pool_id], ordinal, Status.CONFIRMED,
            self._names.code_of(index), self._now_ms,
        )  # fmt: skip
        claims.append(made)
        requests.append(request)
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
        self._plain = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._clock = clock
        self._entropy = entropy
        self._statements = _statements(engine)
        self._granting = True
        self._pulsing: sa.Connection | None = None
        self._known_versions: dict[int, int] | None = None

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:  # noqa: ARG002 -- see above
        if not self._granting:
            with self._reading.begin() as connection:
                decisions, minted, _, _ = self._decide(connection, batch, lock=False)
            if not minted.claims:
                return BatchResult(decisions, [])
        with self._engine.connect() as connection:
            decisions, minted, taken, changed = self._decide(connection, batch, lock=True)
            if minted.claims:
                self._statements.commit(connection, minted, taken)
        self._granting = bool(minted.claims)
        return BatchResult(decisions, changed)

    def _decide(
        self, connection: sa.Connection, batch: Sequence[ClaimRequest], *, lock: bool
    ) -> tuple[list[Granted | Refusal], Minted, list[Taken], list[PoolStock]]:
        """(decisions, the claims to insert, units to take from pools, stock of those pools afterwards)."""
        found = self._statements.read(connection, batch, lock=lock)
        now_ms = self._clock_ms(found.now_s)
        rules = {
            row.id: Rules(Control(row.control), row.opens_at, row.closes_at, row.per_person) for row in found.rules
        }
        stock = {row.id: (row.campaign_id, row.remaining) for row in found.pools}
        codes = {row.id: row.code for row in found.pools}
        mint = _Minter(len(batch), found.last_seq, now_ms, self._entropy, codes)
        decisions = allocate(batch, rules, stock, _by_person(found.records), now_ms, mint)
        taken, changed = [], []
        for row in sorted(found.pools, key=attrgetter("id")):
            after = stock[row.id][1]
            if after != row.remaining:
                taken.append(Taken(row.id, row.remaining - after))
                changed.append(PoolStock(row.campaign_id, row.id, after, row.version + 1))
        return decisions, mint.minted, taken, changed

    def cancel(self, campaign_id: int, person: bytes, claim_id: str) -> tuple[Claim | Refusal, list[PoolStock]]:
        with self._writing.begin() as connection:
            for record in map(_record, self._statements.records(connection, [(campaign_id, person)])):
                if record.claim.id == claim_id:
                    break
            else:
                return UNKNOWN_CLAIM, []
            held = record.claim
            if (held.status, "cancel") not in CLAIM_LIFE:
                return (held if held.status not in LIVE else REDEEMED), []
            now_ms = self._now_ms(connection)
            connection.execute(
                sa.update(claim)
                .where(claim.c.seq == held.seq)
                .values(status=Status.CANCELLED, ordinal=-held.seq, ended_at=now_ms)
            )
            connection.execute(
                sa.insert(outbox).values(at=now_ms, kind=EventKind.CANCELLED, first_seq=held.seq, last_seq=held.seq)
            )
            connection.execute(
                sa.update(pool)
                .where(pool.c.id == record.pool_id)
                .values(remaining=pool.c.remaining + 1, version=pool.c.version + 1)
            )
            after = connection.execute(
                sa.select(pool.c.remaining, pool.c.version).where(pool.c.id == record.pool_id)
            ).one()
        ended = Claim(held.id, held.seq, held.pool_code, -held.seq, Status.CANCELLED, held.code, held.created_at_ms)
        return ended, [PoolStock(campaign_id, record.pool_id, after.remaining, after.version)]

    def claims_of(self, persons: Collection[PersonKey]) -> dict[PersonKey, list[Claim]]:
        with self._plain.connect() as connection:
            held = _by_person(self._statements.records(connection, persons))
        return {key: [record.claim for record in held.get(key, ())] for key in persons}

    def _clock_ms(self, now_s: float) -> int:
        """`now_s` is what the server said."""
        return int(now_s * 1000) if self._clock is None else self._clock.now_ms()

    def _now_ms(self, connection: sa.Connection) -> int:
        return server_now_ms(connection) if self._clock is None else self._clock.now_ms()

    def versions(self) -> dict[int, int]:
        with self._engine.connect() as connection:
            return {row.id: row.version for row in connection.execute(sa.select(campaign.c.id, campaign.c.version))}

    def stock_of(self, campaign_id: int) -> list[PoolStock]:
        statement = sa.select(pool.c.campaign_id, pool.c.id, pool.c.remaining, pool.c.version)
        with self._engine.connect() as connection:
            return [PoolStock(*row) for row in connection.execute(statement.where(pool.c.campaign_id == campaign_id))]

    def pulse(self, pool_ids: Collection[int]) -> tuple[int, dict[int, int]]:
        # Without a transaction around it, so one round trip; and on a connection of its own, because to take one from
        # those in common and to give it back takes longer than the question.
        connection, self._pulsing = self._pulsing, None
        if connection is not None and _is_over(connection):
            connection.invalidate()
            connection.close()
            connection = None
        connection = connection or self._plain.connect()
        try:
            found = self._statements.pulse(connection, pool_ids)
        except BaseException:
            connection.close()
            raise
        self._pulsing = connection
        now_ms = self._clock_ms(found.now_s)
        return found.last_seq, {
            row.pool_id: row.remaining
            for row in found.pools
            if window_refusal(Control(row.control), row.opens_at, row.closes_at, now_ms) is None
        }

    def claimants(self, campaign_id: int, after: int, up_to: int, limit: int) -> list[tuple[int, bytes]]:
        with self._plain.connect() as connection:
            # Taken apart, because asking a row for its columns by their names takes twice as long as all the rest.
            found: Iterable[Any] = connection.execute(claimants_between(campaign_id, after, up_to, limit))
            return [(seq, person) for seq, person in found]

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
        if self._pulsing is not None:
            self._pulsing.close()
        self._engine.dispose()


def _is_over(connection: sa.Connection) -> bool:
    """Whether a connection that was kept is of no use any more, as far as its driver says so."""
    driver: Any = connection.connection.driver_connection
    return hasattr(driver, "is_over") and bool(driver.is_over())


def _statements(engine: sa.Engine) -> Statements:
    # Drivers take their time to import, and a program has one kind of server.
    if engine.dialect.name == "postgresql":
        from .postgresql_statements import Postgresql  # noqa: PLC0415 -- see above

        return Postgresql()
    from .mysql_statements import Mysql  # noqa: PLC0415 -- see above

    return Mysql()


def claimants_between(campaign_id: int, after: int, up_to: int, limit: int) -> sa.Select[tuple[int, bytes]]:
    """The sum keeps planners from an index over campaigns: what is wanted lies at the end of the table, and that
    index leads to all claims of the campaign, more with every one.
    """
    return (
        sa.select(claim.c.seq, claim.c.person)
        .where(claim.c.campaign_id + 0 == campaign_id, claim.c.seq > after, claim.c.seq <= up_to)
        .order_by(claim.c.seq)
        .limit(limit)
    )


def _by_person(rows: Iterable[Any]) -> dict[PersonKey, list[Record]]:
    held: dict[PersonKey, list[Record]] = {}
    for row in rows:
        held.setdefault((row.campaign_id, bytes(row.person)), []).append(_record(row))
    return held


def _record(row: Any) -> Record:
    held = Claim(row.id, row.seq, row.pool_code, row.ordinal, Status(row.status), row.code, row.created_at)
    digests = [None if digest is None else bytes(digest) for digest in (row.key_digest, row.body_digest)]
    return Record(held, row.pool_id, *digests)
