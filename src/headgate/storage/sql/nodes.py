"""Nodes as rows of `lease`: a node holds its own name, and renews it as the keeper does."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from ...ports.clock import Clock
from ...ports.nodes import GONE_S, NodeCard, NodeSeen
from .engine import writing
from .schema import lease
from .servers import server_now_ms

_PREFIX = "node:"
_GONE_MS = round(GONE_S * 1000)


class SqlNodes:
    """See `headgate.ports.nodes.NodeRegister`."""

    def __init__(self, engine: sa.Engine, clock: Clock | None) -> None:
        """Without a `clock` that of the server decides, which all nodes share."""
        self._engine = engine
        self._writing = writing(engine)
        self._clock = clock

    def report(self, name: str, plane: str, card: NodeCard) -> None:
        key, holder = f"{_PREFIX}{plane}:{name}", msgspec.json.encode(card).decode()
        with self._writing.begin() as connection:
            expires_at = self._now_ms(connection) + _GONE_MS
            changed = sa.case((lease.c.holder == holder, 0), else_=1)
            renewed = connection.execute(
                sa.update(lease)
                .where(lease.c.name == key)
                # The epoch first: MySQL sees what it has set already.
                .ordered_values(
                    (lease.c.epoch, lease.c.epoch + changed), (lease.c.holder, holder), (lease.c.expires_at, expires_at)
                )
            )
            if not renewed.rowcount:
                connection.execute(sa.insert(lease).values(name=key, holder=holder, epoch=1, expires_at=expires_at))

    def all(self) -> list[NodeSeen]:
        with self._engine.connect() as connection:
            now_ms = self._now_ms(connection)
            rows = connection.execute(sa.select(lease).where(lease.c.name.startswith(_PREFIX))).all()
        found = []
        for row in rows:
            plane, _, name = row.name.removeprefix(_PREFIX).partition(":")
            card = msgspec.json.decode(row.holder, type=NodeCard)
            seen_at_ms = row.expires_at - _GONE_MS
            found.append(NodeSeen(name, plane, card, row.epoch - 1, seen_at_ms, row.expires_at <= now_ms))
        return sorted(found, key=lambda node: (node.name, node.plane))

    def forget(self, name: str) -> int:
        with self._writing.begin() as connection:
            now_ms = self._now_ms(connection)
            of_node = lease.c.name.startswith(_PREFIX) & lease.c.name.endswith(f":{name}", autoescape=True)
            return connection.execute(sa.delete(lease).where(of_node, lease.c.expires_at <= now_ms)).rowcount

    def _now_ms(self, connection: sa.Connection) -> int:
        return server_now_ms(connection) if self._clock is None else self._clock.now_ms()
