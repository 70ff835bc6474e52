"""Leases as rows: the one keeper is whoever renewed its row last."""

from __future__ import annotations

import sqlalchemy as sa

from ...ports.clock import Clock
from ...ports.ledger import Lease
from .engine import writing
from .schema import lease
from .servers import server_now_ms


class SqlLeases:
    """See `headgate.ports.ledger.LeaseLedger`."""

    def __init__(self, engine: sa.Engine, clock: Clock | None) -> None:
        """Without a `clock` that of the server decides, which all candidates share."""
        self._writing = writing(engine)
        self._clock = clock

    def acquire(self, name: str, holder: str, ttl_ms: int) -> Lease | None:
        with self._writing.begin() as connection:
            now_ms = server_now_ms(connection) if self._clock is None else self._clock.now_ms()
            row = connection.execute(sa.select(lease).where(lease.c.name == name)).one_or_none()
            if row is None:
                taken = Lease(name, holder, 1, now_ms + ttl_ms)
                connection.execute(
                    sa.insert(lease).values(name=name, holder=holder, epoch=1, expires_at=taken.expires_at_ms)
                )
                return taken
            if row.holder != holder and row.expires_at > now_ms:
                return None
            epoch = row.epoch if row.holder == holder else row.epoch + 1
            taken = Lease(name, holder, epoch, now_ms + ttl_ms)
            connection.execute(
                sa.update(lease)
                .where(lease.c.name == name)
                .values(holder=holder, epoch=epoch, expires_at=taken.expires_at_ms)
            )
            return taken

    def release(self, held: Lease) -> None:
        with self._writing.begin() as connection:
            connection.execute(
                sa.update(lease)
                .where(lease.c.name == held.name, lease.c.holder == held.holder, lease.c.epoch == held.epoch)
                .values(expires_at=0)
            )
