"""The three statements of a batch that every kind of server wants written in its own way.

Each is one round trip whatever the size of the batch, and finds rows by keys only: a server that has not
counted a young table yet would otherwise read all of it, more with every claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa


class Row(NamedTuple):
    """A claim to insert, as it stands in the table; its status is `confirmed`."""

    seq: int
    id: str
    campaign_id: int
    pool_id: int
    person: bytes
    ordinal: int
    code: str
    created_at: int
    key_digest: bytes | None
    body_digest: bytes | None


class Taken(NamedTuple):
    """Units to take from a pool."""

    pool_id: int
    units: int


class Statements(Protocol):
    def records(self, connection: sa.Connection, campaign_id: int, persons: Sequence[bytes]) -> Sequence[Any]:
        """Every claim of these persons in the order of `seq`, with the code of its pool as `pool_code`."""
        ...

    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None: ...

    def take(self, connection: sa.Connection, taken: Sequence[Taken]) -> int:
        """How many pools had that many units left, and gave them."""
        ...


_COLUMNS = "seq, id, campaign_id, pool_id, person, ordinal, code, created_at, key_digest, body_digest"
_RECORD = (
    "claim.person, claim.id, claim.seq, pool.code AS pool_code, claim.ordinal, claim.status, claim.code,"
    " claim.created_at, claim.pool_id, claim.key_digest, claim.body_digest"
)


class Postgresql:
    """Arrays go as one parameter each."""

    # OFFSET 0 keeps the planner from turning the look-ups by key into a scan that it takes for cheaper.
    _RECORDS = (
        f"SELECT {_RECORD} FROM unnest(%s::bytea[]) AS asking (person)"  # noqa: S608 -- of constants
        " CROSS JOIN LATERAL (SELECT * FROM claim"
        " WHERE claim.campaign_id = %s AND claim.person = asking.person OFFSET 0) AS claim"
        " JOIN pool ON pool.id = claim.pool_id ORDER BY claim.seq"
    )
    _INSERT = (
        f"INSERT INTO claim ({_COLUMNS}, status) SELECT *, 'confirmed'"  # noqa: S608 -- of constants
        " FROM unnest(%s::bigint[], %s::text[], %s::int[],"
        " %s::int[], %s::bytea[], %s::int[], %s::text[], %s::bigint[], %s::bytea[], %s::bytea[])"
    )
    _TAKE = (
        "UPDATE pool SET remaining = pool.remaining - taken.units, version = pool.version + 1"
        " FROM unnest(%s::int[], %s::int[]) AS taken (id, units)"
        " WHERE pool.id = taken.id AND pool.remaining >= taken.units"
    )

    def records(self, connection: sa.Connection, campaign_id: int, persons: Sequence[bytes]) -> Sequence[Any]:
        return connection.exec_driver_sql(self._RECORDS, (list(persons), campaign_id)).all()

    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        connection.exec_driver_sql(self._INSERT, tuple(list(column) for column in zip(*rows, strict=True)))

    def take(self, connection: sa.Connection, taken: Sequence[Taken]) -> int:
        pools, units = ([*column] for column in zip(*taken, strict=True))
        return int(connection.exec_driver_sql(self._TAKE, (pools, units)).rowcount)


class Mysql:
    """Also MariaDB.  Lists are written out; the driver sends an insert of many rows as one statement."""

    # Only values of this form are sent by PyMySQL as one statement.
    _INSERT = f"INSERT INTO claim ({_COLUMNS}, status) VALUES ({', '.join(['%s'] * (len(Row._fields) + 1))})"  # noqa: S608 -- of constants

    def records(self, connection: sa.Connection, campaign_id: int, persons: Sequence[bytes]) -> Sequence[Any]:
        statement = (
            f"SELECT {_RECORD} FROM claim JOIN pool ON pool.id = claim.pool_id"  # noqa: S608 -- only placeholders are put in
            f" WHERE claim.campaign_id = %s AND claim.person IN ({_places(len(persons))}) ORDER BY claim.seq"
        )
        return connection.exec_driver_sql(statement, (campaign_id, *persons)).all()

    def insert(self, connection: sa.Connection, rows: Sequence[Row]) -> None:
        connection.exec_driver_sql(self._INSERT, [(*row, "confirmed") for row in rows])

    def take(self, connection: sa.Connection, taken: Sequence[Taken]) -> int:
        units = f"CASE id {' '.join(['WHEN %s THEN %s'] * len(taken))} END"
        statement = (
            f"UPDATE pool SET remaining = remaining - {units}, version = version + 1"  # noqa: S608 -- only placeholders are put in
            f" WHERE id IN ({_places(len(taken))}) AND remaining >= {units}"
        )
        pairs = [value for one in taken for value in one]
        found = connection.exec_driver_sql(statement, (*pairs, *(one.pool_id for one in taken), *pairs))
        return int(found.rowcount)


def _places(count: int) -> str:
    return ", ".join(["%s"] * count)


def statements_of(dialect: str) -> Statements:
    return Postgresql() if dialect == "postgresql" else Mysql()
