"""What is told to others, read back from the ledger, and how far each of them has been told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from typing import Any

import sqlalchemy as sa

from ...domain.event import BEGINNING, Event, EventKind, Position
from ...ports.ledger import LedgerDamaged
from .engine import writing
from .schema import campaign, claim, outbox, pool, relay


class SqlOutbox:
    """See `headgate.ports.outbox.Outbox`.

    Rows of the outbox appear in the order of their ids, because whoever writes one holds the lock of all
    writers until it is committed: what is behind a row that was read comes no more.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def events(self, after: Position, limit: int) -> list[Event]:
        with self._engine.connect() as connection:
            # One more, because all of the first may have been told.
            rows = connection.execute(
                sa.select(outbox).where(outbox.c.id >= after.row).order_by(outbox.c.id).limit(limit + 1)
            ).all()
            told = list(islice(_unfolded(rows, after), limit))
            return self._events(connection, told) if told else []

    def _events(self, connection: sa.Connection, told: Sequence[tuple[Any, Position]]) -> list[Event]:
        # By keys alone, so that it costs the same however many claims and pools there are.
        seqs = {row.first_seq + position.offset for row, position in told}
        found = connection.execute(
            sa.select(claim.c.seq, claim.c.id, claim.c.pool_id).where(claim.c.seq.in_(seqs))
        ).all()
        claims = {row.seq: row for row in found}
        pools = {
            row.id: row
            for row in connection.execute(
                sa.select(pool.c.id, pool.c.code, campaign.c.slug)
                .join(campaign, campaign.c.id == pool.c.campaign_id)
                .where(pool.c.id.in_({row.pool_id for row in found}))
            )
        }
        events = []
        for row, position in told:
            of = claims.get(row.first_seq + position.offset)
            if of is None:
                raise LedgerDamaged(
                    f"row {row.id} of the table outbox tells of claim {row.first_seq + position.offset}, "
                    "which is not there; compare the ledger with a backup"
                )
            at = pools[of.pool_id]
            events.append(Event(position, EventKind(row.kind), row.at, of.id, at.slug, at.code))
        return events

    def begin(self, name: str) -> Position:
        with self._engine.connect() as connection:
            known = _cursor(connection, name)
        return self._begin(name) if known is None else known

    def _begin(self, name: str) -> Position:
        with self._writing.begin() as connection:
            # Another process may have been faster.
            known = _cursor(connection, name)
            if known is not None:
                return known
            last = connection.execute(sa.select(outbox).order_by(outbox.c.id.desc()).limit(1)).one_or_none()
            end = BEGINNING if last is None else _last_of(last)
            connection.execute(sa.insert(relay).values(name=name, outbox_id=end.row, event_offset=end.offset))
            return end

    def advance(self, name: str, position: Position) -> None:
        with self._writing.begin() as connection:
            connection.execute(
                sa.update(relay)
                .where(relay.c.name == name, _before(position))
                .values(outbox_id=position.row, event_offset=position.offset)
            )

    def waiting_since(self, name: str) -> int | None:
        with self._engine.connect() as connection:
            told = _cursor(connection, name)
            if told is None:
                return None
            behind = sa.or_(outbox.c.id > told.row, outbox.c.last_seq - outbox.c.first_seq > told.offset)
            at: int | None = connection.scalar(
                sa.select(outbox.c.at).where(outbox.c.id >= told.row, behind).order_by(outbox.c.id).limit(1)
            )
            return at

    def prune(self, before_ms: int, limit: int) -> Sequence[str] | None:
        in_order = sa.select(outbox).order_by(outbox.c.id)
        with self._engine.connect() as connection:
            oldest = connection.execute(in_order.limit(1)).one_or_none()
            if oldest is None or oldest.at >= before_ms:
                return None
            rows = connection.execute(in_order.limit(limit)).all()
        # Up to the first that stays: a clock that was set back may have given a later row an earlier time.
        *_, last = takewhile(lambda row: row.at < before_ms, rows)
        with self._writing.begin() as connection:
            losing = connection.scalars(sa.select(relay.c.name).where(_before(_last_of(last)))).all()
            connection.execute(sa.delete(outbox).where(outbox.c.id <= last.id))
        return losing


def _unfolded(rows: Sequence[Any], after: Position) -> Iterator[tuple[Any, Position]]:
    """Each event of these rows that comes after `after`, as its row and its position."""
    for row in rows:
        first = after.offset + 1 if row.id == after.row else 0
        for offset in range(first, row.last_seq - row.first_seq + 1):
            yield row, Position(row.id, offset)


def _last_of(row: Any) -> Position:
    return Position(row.id, row.last_seq - row.first_seq)


def _cursor(connection: sa.Connection, name: str) -> Position | None:
    row = connection.execute(sa.select(relay).where(relay.c.name == name)).one_or_none()
    return None if row is None else Position(row.outbox_id, row.event_offset)


def _before(position: Position) -> sa.ColumnElement[bool]:
    """Of cursors that have not come to `position`."""
    return sa.or_(
        relay.c.outbox_id < position.row,
        sa.and_(relay.c.outbox_id == position.row, relay.c.event_offset < position.offset),
    )
