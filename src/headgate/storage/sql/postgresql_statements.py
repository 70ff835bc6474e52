"""The statements of a batch on PostgreSQL, in three round trips whatever its size.

All that a batch reads goes out at once, and so does all that it writes; the server works through them one
after the other (https://www.psycopg.org/psycopg3/docs/advanced/pipeline.html).  At READ COMMITTED each
statement sees what was committed before it began, so those behind the lock see what the last holder did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import namedtuple_row

from ...domain.claim import ClaimRequest, PersonKey
from .server_statements import ANNOUNCE, COLUMNS, RECORD, Found, Row, Taken
from .servers import LOCK, SEQ, check_schema, server_meaning

_MOMENT = f"SELECT value, extract(epoch FROM clock_timestamp()) AS now FROM counter WHERE name = '{SEQ}'"  # noqa: S608 -- of a constant
_RULES = "SELECT id, control, opens_at, closes_at, per_person FROM campaign WHERE id = ANY(%s::int[])"
_POOLS = "SELECT id, campaign_id, remaining, code, version FROM pool WHERE id = ANY(%s::int[])"
# OFFSET 0 keeps the planner from turning the look-ups by key into a scan that it takes for cheaper.
_RECORDS = (
    f"SELECT {RECORD} FROM unnest(%s::int[], %s::bytea[]) AS asking (campaign_id, person)"  # noqa: S608 -- of constants
    " CROSS JOIN LATERAL (SELECT * FROM claim"
    " WHERE claim.campaign_id = asking.campaign_id AND claim.person = asking.person OFFSET 0) AS claim"
    " JOIN pool ON pool.id = claim.pool_id ORDER BY claim.seq"
)
_INSERT = (
    f"INSERT INTO claim ({COLUMNS}, status) SELECT *, 'confirmed'"  # noqa: S608 -- of constants
    " FROM unnest(%s::bigint[], %s::text[], %s::int[],"
    " %s::int[], %s::bytea[], %s::int[], %s::text[], %s::bigint[], %s::bytea[], %s::bytea[])"
)
_COUNT = f"UPDATE counter SET value = %s WHERE name = '{SEQ}'"  # noqa: S608 -- of a constant
_TAKE = (
    "UPDATE pool SET remaining = pool.remaining - taken.units, version = pool.version + 1"
    " FROM unnest(%s::int[], %s::int[]) AS taken (id, units)"
    " WHERE pool.id = taken.id AND pool.remaining >= taken.units"
)


class Postgresql:
    """Arrays go as one parameter each, written here: the driver takes ten times as long to write them."""

    def read(self, connection: sa.Connection, batch: Sequence[ClaimRequest], *, lock: bool) -> Found:
        asking = {(request.campaign_id, request.person) for request in batch}
        locked = None
        try:
            with _together(connection) as say:
                locked = say(LOCK) if lock else None
                moment = say(_MOMENT)
                rules = say(_RULES, _words({campaign_id for campaign_id, _ in asking}))
                pools = say(_POOLS, _words({request.pool_id for request in batch}))
                records = say(_RECORDS, *_asking(asking))
        except psycopg.ProgrammingError:
            # A newer program may have changed the very columns that are read here.
            if locked is not None:
                check_schema(locked.fetchone(), connection.engine.url)
            raise
        if locked is not None:
            check_schema(locked.fetchone(), connection.engine.url)
        last_seq, now_s = moment.fetchall()[0]
        return Found(last_seq, float(now_s), rules.fetchall(), pools.fetchall(), records.fetchall())

    def write(self, connection: sa.Connection, rows: Sequence[Row], taken: Sequence[Taken]) -> int:
        seqs, ids, campaigns, pools, persons, ordinals, codes, times, keys, bodies = zip(*rows, strict=True)
        with _together(connection) as say:
            say(
                _INSERT, _words(seqs), _words(ids), _words(campaigns), _words(pools), _bytes(persons),
                _words(ordinals), _words(codes), _words(times), _bytes(keys), _bytes(bodies),
            )  # fmt: skip
            say(_COUNT, rows[-1].seq)
            say(ANNOUNCE, rows[0].created_at, rows[0].seq, rows[-1].seq)
            gave = say(_TAKE, _words(one.pool_id for one in taken), _words(one.units for one in taken))
        return int(gave.rowcount)

    def records(self, connection: sa.Connection, persons: Collection[PersonKey]) -> Sequence[Any]:
        return connection.exec_driver_sql(_RECORDS, _asking(persons)).all()


def _asking(persons: Collection[PersonKey]) -> tuple[str, str]:
    return _words(campaign_id for campaign_id, _ in persons), _bytes(person for _, person in persons)


def _words(values: Iterable[object]) -> str:
    """An array of numbers, or of names and codes, which hold nothing that would have to be quoted."""
    return f"{{{','.join(map(str, values))}}}"


def _bytes(values: Iterable[bytes | None]) -> str:
    """An array of bytea: each as hexadecimal digits after a backslash, which is written twice between quotes."""
    return _words("NULL" if value is None else rf'"\\x{value.hex()}"' for value in values)


@contextmanager
def _together(connection: sa.Connection) -> Iterator[Any]:
    """What is said inside goes out at once, and has been answered at the end; errors are LedgerError as elsewhere."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]

    def say(statement: str, *given: object) -> psycopg.Cursor[Any]:
        cursor: psycopg.Cursor[Any] = driver.cursor(row_factory=namedtuple_row)
        return cursor.execute(statement, given)

    try:
        with driver.pipeline():
            yield say
    except psycopg.ProgrammingError:
        raise
    except psycopg.Error as error:
        if driver.closed:
            connection.invalidate(error)
        raise server_meaning(error, connection.engine.url, committing=False) from error
