"""The ledger as an auditor reads it: documented tables and columns only, all at one commit."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import sqlalchemy as sa

from .errors import WrongUse
from .log import LIVE

DRIVERS = ("sqlite", "postgresql+psycopg", "mysql+pymysql", "mariadb+pymysql")
FETCHED_ROWS = 10_000
"""Rows that are fetched from a server at once, so that a large table is never held twice."""

_CAMPAIGN = sa.table(
    "campaign",
    *map(sa.column, ("id", "slug", "kind", "opens_at", "closes_at", "per_person", "control", "created_at")),
)
_POOL = sa.table("pool", *map(sa.column, ("id", "campaign_id", "code", "capacity", "remaining")))
_CLAIM = sa.table(
    "claim",
    *map(
        sa.column,
        (
            *("seq", "id", "campaign_id", "pool_id", "person", "ordinal", "status", "code", "created_at", "ended_at"),
            "key_digest",
        ),
    ),
)
_OPERATION = sa.table("operation", sa.column("at"))


class Campaign(msgspec.Struct, frozen=True):
    """Times are milliseconds since the epoch, as everywhere in the ledger."""

    id: int
    slug: str
    kind: str
    opens_at: int
    closes_at: int
    per_person: int
    control: str
    created_at: int


class Pool(msgspec.Struct, frozen=True):
    id: int
    code: str
    capacity: int
    remaining: int


class Row(msgspec.Struct, frozen=True, gc=False):
    """A claim of the campaign; `pool` is None where it names no pool of this campaign."""

    seq: int
    id: str
    pool: str | None
    person: bytes
    ordinal: int
    status: str
    code: str
    created_at: int
    ended_at: int | None

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def created_s(self) -> float:
        return self.created_at / 1000

    @property
    def ended_s(self) -> float | None:
        return None if self.ended_at is None else self.ended_at / 1000

    def cite(self) -> str:
        ended = "" if self.ended_at is None else f", ended_at {self.ended_at}"
        return (
            f"claim seq {self.seq}: id {self.id}, pool {self.pool}, person {self.person.hex()}, "
            f"ordinal {self.ordinal}, {self.status}, code {self.code}, created_at {self.created_at}{ended}"
        )


class Records(msgspec.Struct, frozen=True):
    """One campaign, and the order of the whole claim table."""

    campaign: Campaign
    pools: list[Pool]
    rows: list[Row]
    """By seq."""
    strays: list[str]
    """Ids of other campaigns' claims that name one of these pools."""
    seqs: array[int]
    """Of all campaigns, in ascending order, with what is there twice."""
    keys_twice: list[tuple[bytes, int]]
    """(person, claims) where one idempotency key made several claims."""
    changed_at: int | None
    """When an operator last changed anything after the campaign was created."""


def read_records(url: str, slug: str) -> Records:
    """What the ledger says of a campaign.  Raises WrongUse."""
    try:
        with _transaction(_address(url)) as connection:
            return _read(connection, slug)
    except sa.exc.DBAPIError as error:
        # Only the driver's words: the rest holds the statement, and a link to SQLAlchemy.
        raise WrongUse(f"the ledger could not be read ({error.orig}): check its URL and that it is a ledger") from None
    except ModuleNotFoundError as error:
        raise WrongUse(f"the ledger's driver is not installed ({error.name})") from None


def _address(url: str) -> sa.URL:
    """Where the ledger is.  An SQLite file is opened for reading only, so that none is made by a mistyped name."""
    try:
        address = sa.make_url(url.strip())
    except (sa.exc.ArgumentError, ValueError):
        raise WrongUse("the ledger's URL cannot be read: write sqlite:////path/ledger.db or a server's URL") from None
    if address.drivername not in DRIVERS:
        raise WrongUse(f"a ledger's URL begins with {', '.join(DRIVERS)}, not with {address.drivername}")
    if address.drivername != "sqlite":
        return address
    path = Path(address.database or "")
    if not path.is_file():
        raise WrongUse(f"there is no ledger at {path}: check the path in its URL")
    return address.set(database=f"file:{quote(str(path.absolute()))}", query={"mode": "ro", "uri": "true"})


@contextmanager
def _transaction(address: sa.URL) -> Iterator[sa.Connection]:
    """A connection in one transaction that sees one commit from its first read to its last."""
    sqlite = address.drivername == "sqlite"
    engine = sa.create_engine(
        address, poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT" if sqlite else "REPEATABLE READ"
    )
    try:
        with engine.connect() as connection:
            if sqlite:
                # Left to itself, Python's driver begins no transaction for a SELECT.
                connection.exec_driver_sql("BEGIN")
            yield connection
            connection.rollback()
    finally:
        engine.dispose()


def _read(connection: sa.Connection, slug: str) -> Records:
    campaign = _campaign(connection, slug)
    of = sa.select(_POOL.c.id, _POOL.c.code, _POOL.c.capacity, _POOL.c.remaining)
    pools = [
        Pool(id_, _text(code), capacity, remaining)
        for id_, code, capacity, remaining in connection.execute(of.where(_POOL.c.campaign_id == campaign.id))
    ]
    changed_at = connection.scalar(sa.select(sa.func.max(_OPERATION.c.at)).where(_OPERATION.c.at > campaign.created_at))
    mine = _CLAIM.c.campaign_id == campaign.id
    pool_ids = sa.select(_POOL.c.id).where(_POOL.c.campaign_id == campaign.id)
    strays = connection.scalars(sa.select(_CLAIM.c.id).where(~mine, _CLAIM.c.pool_id.in_(pool_ids)))
    keys_twice = (
        sa.select(_CLAIM.c.person, sa.func.count())
        .where(mine, _CLAIM.c.key_digest.is_not(None))
        .group_by(_CLAIM.c.person, _CLAIM.c.key_digest)
        .having(sa.func.count() > 1)
    )
    return Records(
        campaign,
        pools,
        _rows(connection, campaign.id, {pool.id: pool.code for pool in pools}),
        [_text(id_) for id_ in strays],
        array("q", (seq for (seq,) in _streamed(connection, sa.select(_CLAIM.c.seq).order_by(_CLAIM.c.seq)))),
        [(bytes(person), count) for person, count in connection.execute(keys_twice)],
        changed_at,
    )


def _campaign(connection: sa.Connection, slug: str) -> Campaign:
    found = connection.execute(sa.select(_CAMPAIGN).where(_CAMPAIGN.c.slug == slug)).all()
    if not found:
        slugs = sorted(_text(known) for known in connection.scalars(sa.select(_CAMPAIGN.c.slug)))
        raise WrongUse(f"the ledger has no campaign {slug!r}; it has: {', '.join(slugs) or 'none'}")
    id_, slug, kind, opens_at, closes_at, per_person, control, created_at = found[0]
    if _text(kind) != "first_come":
        raise WrongUse(f"campaign {slug!r} is of kind {_text(kind)!r}: only first_come can be judged")
    return Campaign(id_, _text(slug), _text(kind), opens_at, closes_at, per_person, _text(control), created_at)


def _rows(connection: sa.Connection, campaign_id: int, codes: dict[int, str]) -> list[Row]:
    c = _CLAIM.c
    columns = (c.seq, c.id, c.pool_id, c.person, c.ordinal, c.status, c.code, c.created_at, c.ended_at)
    wanted = sa.select(*columns).where(c.campaign_id == campaign_id).order_by(c.seq)
    # Each status once, not once a row.
    statuses: dict[str, str] = {}
    rows = []
    for seq, id_, pool, person, ordinal, said, code, created_at, ended_at in _streamed(connection, wanted):
        status = _text(said)
        status = statuses.setdefault(status, status)
        rows.append(
            Row(seq, _text(id_), codes.get(pool), bytes(person), ordinal, status, _text(code), created_at, ended_at)
        )
    return rows


def _streamed(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[Any]:
    return iter(connection.execute(statement, execution_options={"yield_per": FETCHED_ROWS}))


def _text(value: str | bytes) -> str:
    """A text column; a server with a binary collation gives bytes."""
    return value.decode() if isinstance(value, bytes) else value
