"""The statements of a batch on PostgreSQL, in two round trips whatever its size.

All that a batch reads goes out at once, and so does all that it writes, with the commit; the server works through
them one after the other.  At READ COMMITTED each statement sees what was committed before it began, so those behind
the lock see what the last holder did.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Transformer
from psycopg.pq.abc import PGresult

from ...domain.claim import ClaimRequest, PersonKey
from ...domain.event import EventKind
from ...ports.ledger import LedgerDamaged
from .arrays import bytes16, ints, texts
from .bounded import BoundedConnection
from .exchange import Said, checked, exchange
from .server_statements import (
    COLUMNS,
    RECORD,
    STOCK_CHANGED,
    Found,
    Minted,
    PoolRow,
    Pulse,
    PulseRow,
    RecordRow,
    RuleRow,
    Taken,
)
from .servers import LOCK, SEQ, check_schema, server_meaning

_RULES = "SELECT id, control, opens_at, closes_at, per_person FROM campaign WHERE id = ANY($1::int[])"
# The number of the last claim and the time are in every row, also where none of these pools is there.
_MOMENT_AND_POOLS = (
    "SELECT counter.value, extract(epoch FROM clock_timestamp()), pool.id, pool.campaign_id, pool.remaining, pool.code,"  # noqa: S608 -- of a constant
    f" pool.version FROM counter LEFT JOIN pool ON pool.id = ANY($1::int[]) WHERE counter.name = '{SEQ}'"
)
# OFFSET 0 keeps the planner from turning the look-ups by key into a scan that it takes for cheaper.
_RECORDS = (
    f"SELECT {RECORD} FROM unnest($1::int[], $2::bytea[]) AS asking (campaign_id, person)"  # noqa: S608 -- of constants
    " CROSS JOIN LATERAL (SELECT * FROM claim"
    " WHERE claim.campaign_id = asking.campaign_id AND claim.person = asking.person OFFSET 0) AS claim"
    " CROSS JOIN LATERAL (SELECT * FROM pool WHERE pool.id = claim.pool_id OFFSET 0) AS pool ORDER BY claim.seq"
)
# One statement, because starting and ending each of four takes longer than what it does.  What all claims of a batch
# share is given once, and their numbers follow each other: reading arrays takes its time.
_WRITE = (
    f"WITH made AS (INSERT INTO claim ({COLUMNS})"  # noqa: S608 -- of constants
    " SELECT $1::bigint + place - 1, id, campaign_id, pool_id, person, ordinal, code, $3::bigint, key_digest,"
    " body_digest, 'confirmed'"
    " FROM unnest($4::text[], $5::int[], $6::int[], $7::bytea[], $8::int[], $9::text[], $10::bytea[], $11::bytea[])"
    " WITH ORDINALITY AS new (id, campaign_id, pool_id, person, ordinal, code, key_digest, body_digest, place)),"
    f" counted AS (UPDATE counter SET value = $2::bigint WHERE name = '{SEQ}'),"
    " told AS (INSERT INTO outbox (at, kind, first_seq, last_seq)"
    f" VALUES ($3::bigint, '{EventKind.CONFIRMED}', $1::bigint, $2::bigint)),"
    " gave AS (UPDATE pool SET remaining = pool.remaining - taken.units, version = pool.version + 1"
    " FROM unnest($12::int[], $13::int[]) AS taken (id, units)"
    # The first condition makes the planner think of one pool: by its guess of ten it would read all of them, and hold
    # each against what was taken, where they are few while it plans.
    " WHERE taken.id + 0 = taken.id AND pool.id = taken.id AND pool.remaining >= taken.units RETURNING 1)"
    # The commit goes out together with this, so what must not be committed has to fail here.
    " SELECT 1 / (count(*) = $14)::int FROM gave"
)
_PULSE = (
    "SELECT counter.value, extract(epoch FROM clock_timestamp()), pool.id, pool.remaining, campaign.control,"  # noqa: S608 -- of a constant
    " campaign.opens_at, campaign.closes_at FROM counter LEFT JOIN pool ON pool.id = ANY($1::int[])"
    f" LEFT JOIN campaign ON campaign.id = pool.campaign_id WHERE counter.name = '{SEQ}'"
)

_T = TypeVar("_T")


class Postgresql:
    """Arrays go as one parameter each."""

    def read(self, connection: sa.Connection, batch: Sequence[ClaimRequest], *, lock: bool) -> Found:
        asking = {(request.campaign_id, request.person) for request in batch}
        said = [
            Said(_MOMENT_AND_POOLS, (ints(list({request.pool_id for request in batch})),)),
            Said(_RULES, (ints(list({campaign_id for campaign_id, _ in asking})),)),
            Said(_RECORDS, _asking(asking)),
        ]
        if lock:
            said.insert(0, Said(LOCK))
        with _meaning(connection) as driver:
            answers = exchange(driver, said)
            if lock:
                # Before the others are looked at: a newer program may have changed the very columns that they read.
                locked = _rows(driver, answers.pop(0), tuple)
                check_schema(locked[0] if locked else None, connection.engine.url)
            rows = _rows(driver, answers[0], tuple)
            last_seq, now_s, *_ = rows[0]
            pools = [PoolRow(*row[2:]) for row in rows if row[2] is not None]
            rules = _rows(driver, answers[1], RuleRow._make)
            return Found(last_seq, float(now_s), rules, pools, _rows(driver, answers[2], RecordRow._make))

    def commit(self, connection: sa.Connection, minted: Minted, taken: Sequence[Taken]) -> None:
        claims, requests = minted
        given = (
            str(claims[0].seq), str(claims[-1].seq), str(claims[0].created_at_ms),
            texts([made.id for made in claims]),
            ints([asked.campaign_id for asked in requests]), ints([asked.pool_id for asked in requests]),
            bytes16([asked.person for asked in requests]),
            ints([made.ordinal for made in claims]), texts([made.code for made in claims]),
            _digests([asked.key_digest for asked in requests]), _digests([asked.body_digest for asked in requests]),
            ints([one.pool_id for one in taken]), ints([one.units for one in taken]), str(len(taken)),
        )  # fmt: skip
        with _meaning(connection, committing=True) as driver:
            wrote, committed = exchange(driver, [Said(_WRITE, given)], commit=True)
        with _meaning(connection):
            # Where this failed the commit was passed over.
            try:
                checked(wrote)
            except psycopg.errors.DivisionByZero as error:
                raise LedgerDamaged(STOCK_CHANGED) from error
        with _meaning(connection, committing=True):
            checked(committed)

    def pulse(self, connection: sa.Connection, pool_ids: Collection[int]) -> Pulse:
        with _meaning(connection) as driver:
            (answer,) = exchange(driver, [Said(_PULSE, (ints(list(pool_ids)),))])
            rows = _rows(driver, answer, tuple)
        last_seq, now_s, *_ = rows[0]
        return Pulse(last_seq, float(now_s), [PulseRow(*row[2:]) for row in rows if row[2] is not None])

    def records(self, connection: sa.Connection, persons: Collection[PersonKey]) -> Sequence[Any]:
        with _meaning(connection) as driver:
            (answer,) = exchange(driver, [Said(_RECORDS, _asking(persons))])
            return _rows(driver, answer, RecordRow._make)


def _asking(persons: Collection[PersonKey]) -> tuple[bytes, bytes]:
    return ints([campaign_id for campaign_id, _ in persons]), bytes16([person for _, person in persons])


def _digests(values: Sequence[bytes | None]) -> bytes:
    """Nothing where all are NULL: what an array lacks beside longer ones is NULL."""
    return bytes16(values if any(values) else ())


def _rows(driver: BoundedConnection, answer: PGresult, make: Callable[[Sequence[Any]], _T]) -> list[_T]:
    reading = Transformer(driver)
    reading.set_pgresult(checked(answer))
    return reading.load_rows(0, answer.ntuples, make)


@contextmanager
def _meaning(connection: sa.Connection, *, committing: bool = False) -> Iterator[BoundedConnection]:
    """The driver's connection; its errors are LedgerError, as elsewhere."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, BoundedConnection), "every connection to PostgreSQL is one"
    url = connection.engine.url
    try:
        yield driver
    except psycopg.errors.InsufficientPrivilege as error:
        raise server_meaning(error, url, committing=False) from error
    except psycopg.ProgrammingError:
        raise
    except psycopg.Error as error:
        if driver.closed or committing:
            # In the middle of a commit a connection is of no use to the next transaction.
            connection.invalidate(error)
        raise server_meaning(error, url, committing=committing) from error
