"""The stock board: committed stock as one process knows it, for gates, pages and state files."""

from __future__ import annotations

from collections.abc import Iterable

from ..ports.ledger import PoolStock


class StockBoard:
    """Takes over committed stock in any order; what is older than the known version is ignored."""

    def __init__(self) -> None:
        self._pools: dict[int, PoolStock] = {}
        self._empty: set[int] = set()
        self._left: dict[int, int] = {}
        self._version: dict[int, int] = {}

    def learn(self, stock: Iterable[PoolStock]) -> None:
        for pool in stock:
            campaign_id = pool.campaign_id
            known = self._pools.get(pool.pool_id)
            if known is None:
                known = PoolStock(campaign_id, pool.pool_id, 0, 0)
            elif known.version >= pool.version:
                continue
            self._pools[pool.pool_id] = pool
            self._left[campaign_id] = self._left.get(campaign_id, 0) + pool.remaining - known.remaining
            self._version[campaign_id] = self._version.get(campaign_id, 0) + pool.version - known.version
            if pool.remaining:
                self._empty.discard(pool.pool_id)
            else:
                self._empty.add(pool.pool_id)

    def empty(self, pool_id: int) -> bool:
        """Whether the pool has no unit left."""
        return pool_id in self._empty

    def sold_out(self, campaign_id: int) -> bool:
        """Whether no pool of the campaign has a unit left; False for a campaign that is not known."""
        return self._left.get(campaign_id, 1) == 0

    def version(self, campaign_id: int) -> int:
        """Grows with every change of any stock of the campaign."""
        return self._version.get(campaign_id, 0)
