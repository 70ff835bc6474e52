"""An auditor's own count of the ledger, from the documented tables alone, opened read-only at any moment."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HOLDING = ("held", "confirmed", "redeemed")
STATUSES = (*HOLDING, "cancelled", "expired")

_POOLS = """
SELECT pool.code, pool.capacity, pool.remaining,
       (SELECT count(*) FROM claim WHERE claim.pool_id = pool.id AND claim.status IN ('held', 'confirmed', 'redeemed'))
FROM pool JOIN campaign ON campaign.id = pool.campaign_id WHERE campaign.slug = ? ORDER BY pool.code
"""
_CLAIMS = """
SELECT claim.id, pool.code, claim.person, claim.ordinal, claim.status, claim.seq
FROM claim JOIN campaign ON campaign.id = claim.campaign_id JOIN pool ON pool.id = claim.pool_id
WHERE campaign.slug = ? ORDER BY claim.seq
"""


@dataclass(frozen=True)
class PoolCount:
    """One pool at one commit: `taken` is counted from the claims, the rest is what the pool row says."""

    code: str
    capacity: int
    remaining: int
    taken: int


@dataclass(frozen=True)
class ClaimRow:
    id: str
    pool: str
    person: object
    ordinal: int
    status: str
    seq: int


class Ledger:
    """Read-only view of `DIR/ledger.db`."""

    def __init__(self, data: Path) -> None:
        self.path = data / "ledger.db"

    def _rows(self, sql: str, *parameters: str) -> list[tuple]:  # type: ignore[type-arg]
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)) as db:
            return db.execute(sql, parameters).fetchall()

    def pools(self, slug: str) -> dict[str, PoolCount]:
        """Every pool of a campaign, counted in one statement, so at one commit."""
        return {row[0]: PoolCount(*row) for row in self._rows(_POOLS, slug)}

    def claims(self, slug: str) -> list[ClaimRow]:
        return [ClaimRow(str(row[0]), *row[1:]) for row in self._rows(_CLAIMS, slug)]

    def campaigns(self) -> list[str]:
        """Slugs in the ledger; none where it has not been created yet."""
        if not self.path.exists():
            return []
        try:
            return sorted(row[0] for row in self._rows("SELECT slug FROM campaign"))
        except sqlite3.OperationalError:
            return []

    def pool_count(self) -> int:
        return int(self._rows("SELECT count(*) FROM pool")[0][0]) if self.path.exists() else 0

    def check(self, slug: str, *, per_person: int = 1) -> dict[str, PoolCount]:
        """Assert every invariant that the tables can show; returns the pools."""
        pools, claims = self.pools(slug), self.claims(slug)
        for pool in pools.values():
            assert 0 <= pool.taken <= pool.capacity, f"oversold: {pool}"
            assert pool.remaining + pool.taken == pool.capacity, f"stock does not add up: {pool}"
        holding = [c for c in claims if c.status in HOLDING]
        assert {c.status for c in claims} <= set(STATUSES), (
            f"undocumented status in {Counter(c.status for c in claims)}"
        )
        most = Counter(c.person for c in holding).most_common(1)
        assert not most or most[0][1] <= per_person, f"one person holds {most[0][1]} claims, {per_person} allowed"
        ordinals = [(c.person, c.ordinal) for c in claims]
        assert len(set(ordinals)) == len(ordinals), "the same (person, ordinal) twice"
        assert len({c.seq for c in claims}) == len(claims), "the same seq twice"
        return pools

    def confirmed(self, slug: str) -> dict[str, ClaimRow]:
        return {c.id: c for c in self.claims(slug) if c.status == "confirmed"}


class Watch:
    """Re-counts a campaign again and again from a thread of its own while others change it."""

    def __init__(self, ledger: Ledger, slug: str) -> None:
        self._ledger, self._slug = ledger, slug
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.counts = 0
        self.wrong: list[PoolCount] = []
        self.error: Exception | None = None

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            try:
                for pool in self._ledger.pools(self._slug).values():
                    if not (0 <= pool.taken <= pool.capacity and pool.remaining + pool.taken == pool.capacity):
                        self.wrong.append(pool)
            except sqlite3.Error as error:
                self.error = error
                return
            self.counts += 1

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def judge(self) -> None:
        assert self.error is None, f"a reader could not open the ledger at any time: {self.error!r}"
        assert self.counts, "the watch never counted"
        assert not self.wrong, f"{len(self.wrong)} of {self.counts} counts did not add up, first {self.wrong[0]}"
