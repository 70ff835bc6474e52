"""The statements of a batch on MySQL and MariaDB, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from ...domain.claim import ClaimRequest, PersonKey
from ...domain.event import EventKind
from ...ports.ledger import LedgerDamaged
from .schema import campaign, counter, pool
from .server_statements import COLUMNS, RECORD, STOCK_CHANGED, Found, Minted, Pulse, PulseRow, Taken
from .servers import SEQ, lock_writers, server_time

_MOMENT = sa.select(counter.c.value, server_time("mysql")).where(counter.c.name == SEQ)
_RULES = sa.select(
    campaign.c.id, campaign.c.control, campaign.c.opens_at, campaign.c.closes_at, campaign.c.per_person
).where(campaign.c.id.in_(sa.bindparam("ids", expanding=True)))
_POOLS = sa.select(pool.c.id, pool.c.campaign_id, pool.c.remaining, pool.c.code, pool.c.version).where(
    pool.c.id.in_(sa.bindparam("ids", expanding=True))
)
_COUNT = sa.update(counter).where(counter.c.name == SEQ).values(value=sa.bindparam("last"))
# Only values of this form are sent by PyMySQL as one statement.
_INSERT = f"INSERT INTO claim ({COLUMNS}) VALUES ({', '.join(['%s'] * len(COLUMNS.split(', ')))})"  # noqa: S608 -- of constants

_ANNOUNCE = f"INSERT INTO outbox (at, kind, first_seq, last_seq) VALUES (%s, '{EventKind.CONFIRMED}', %s, %s)"  # noqa: S608 -- of a constant


class Mysql:
    """Lists are written out; the driver sends an insert of many rows as one statement."""

    def read(self, connection: sa.Connection, batch: Sequence[ClaimRequest], *, lock: bool) -> Found:
        if lock:
            lock_writers(connection)
        last_seq, now_s = connection.execute(_MOMENT).one()
        asking = {(request.campaign_id, request.person) for request in batch}
        rules = connection.execute(_RULES, {"ids": sorted({campaign_id for campaign_id, _ in asking})}).all()
        pools = connection.execute(_POOLS, {"ids": sorted({request.pool_id for request in batch})}).all()
        return Found(last_seq, float(now_s), rules, pools, self.records(connection, asking))

    def commit(self, connection: sa.Connection, minted: Minted, taken: Sequence[Taken]) -> None:
        rows = [
            (
                made.seq, made.id, asked.campaign_id, asked.pool_id, asked.person, made.ordinal, made.code,
                made.created_at_ms, asked.key_digest, asked.body_digest, made.status,
            )
            for made, asked in zip(*minted, strict=True)
        ]  # fmt: skip
        first, last = minted.claims[0], minted.claims[-1]
        connection.exec_driver_sql(_INSERT, rows)
        connection.execute(_COUNT, {"last": last.seq})
        connection.exec_driver_sql(_ANNOUNCE, (first.created_at_ms, first.seq, last.seq))
        units = f"CASE id {' '.join(['WHEN %s THEN %s'] * len(taken))} END"
        statement = (
            f"UPDATE pool SET remaining = remaining - {units}, version = version + 1"  # noqa: S608 -- only placeholders are put in
            f" WHERE id IN ({_places(len(taken))}) AND remaining >= {units}"
        )
        pairs = [value for one in taken for value in one]
        found = connection.exec_driver_sql(statement, (*pairs, *(one.pool_id for one in taken), *pairs))
        if found.rowcount != len(taken):
            raise LedgerDamaged(STOCK_CHANGED)
        connection.commit()

    def pulse(self, connection: sa.Connection, pool_ids: Collection[int]) -> Pulse:
        with_rules = counter.outerjoin(pool, pool.c.id.in_(pool_ids)).outerjoin(
            campaign, campaign.c.id == pool.c.campaign_id
        )
        statement = (
            sa.select(
                counter.c.value, server_time("mysql"), pool.c.id, pool.c.remaining, campaign.c.control,
                campaign.c.opens_at, campaign.c.closes_at,
            )
            .select_from(with_rules)
            .where(counter.c.name == SEQ)
        )  # fmt: skip
        rows = connection.execute(statement).all()
        last_seq, now_s, *_ = rows[0]
        return Pulse(last_seq, float(now_s), [PulseRow(*row[2:]) for row in rows if row[2] is not None])

    def records(self, connection: sa.Connection, persons: Collection[PersonKey]) -> Sequence[Any]:
        by_campaign: dict[int, list[bytes]] = {}
        for campaign_id, person in persons:
            by_campaign.setdefault(campaign_id, []).append(person)
        found: list[Any] = []
        for campaign_id, asking in by_campaign.items():
            statement = (
                f"SELECT {RECORD} FROM claim JOIN pool ON pool.id = claim.pool_id"  # noqa: S608 -- only placeholders are put in
                f" WHERE claim.campaign_id = %s AND claim.person IN ({_places(len(asking))}) ORDER BY claim.seq"
            )
            found += connection.exec_driver_sql(statement, (campaign_id, *asking))
        return found


def _places(count: int) -> str:
    return ", ".join(["%s"] * count)
