"""Rules about stock that was there while people were told that it was not."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

import msgspec

from ..case import GRACE_S, NEVER, Case
from ..records import Pool, Row
from ..verdict import Proof


class Spells(msgspec.Struct, frozen=True):
    """When a pool was empty: it began at `since[n]` and ended at `until[n]`, by the ledger's clock in seconds."""

    since: list[float]
    until: list[float]

    def touch(self, first: float, last: float) -> bool:
        """Whether one of them lies, if only in part, between two times."""
        place = bisect_right(self.since, last) - 1
        return place >= 0 and self.until[place] >= first


def spells(pool: Pool, rows: list[Row]) -> Spells:
    """From the claims' own times; a pool of no capacity is always empty."""
    if pool.capacity <= 0:
        return Spells([-NEVER], [NEVER])
    changes = [(row.created_s, 1) for row in rows]
    changes += [(row.ended_s, -1) for row in rows if not row.live and row.ended_s is not None]
    since, until, live = [], [], 0
    for at, change in sorted(changes):
        before, live = live, live + change
        if before < pool.capacity <= live:
            since.append(at)
        elif live < pool.capacity <= before:
            until.append(at)
    return Spells(since, [*until, NEVER][: len(since)])


def _rows_by_pool(case: Case) -> dict[str | None, list[Row]]:
    rows: dict[str | None, list[Row]] = defaultdict(list)
    for row in case.records.rows:
        rows[row.pool].append(row)
    return rows


def sold_out_means_sold_out(case: Case) -> Iterator[Proof]:
    """Told only about when the pool was empty; until an operator's last change nobody knows how much there was.

    So a pool with stock left at the end is one of which nobody was told after the last unit came back; and where none
    came back, nobody at all.
    """
    rows, pools = _rows_by_pool(case), {pool.code: pool for pool in case.records.pools}
    changed_s = -NEVER if case.records.changed_at is None else case.records.changed_at / 1000
    known: dict[str, Spells] = {}
    for request in case.log.answered_with("sold_out"):
        pool = pools.get(request.pool or "")
        if pool is None or request.sent - GRACE_S <= changed_s:
            continue
        if pool.code not in known:
            known[pool.code] = spells(pool, rows[pool.code])
        if not known[pool.code].touch(request.sent - GRACE_S, request.answered + GRACE_S):
            state = f"pool {pool.code}: capacity {pool.capacity}, remaining {pool.remaining}"
            yield Proof("sold_out was told while there was stock", (case.log.cite(request.number), state))


def nothing_is_sold_after_sold_out(case: Case) -> Iterator[Proof]:
    """Until the first unit came back, stock only went down: nobody is given what somebody was told is gone.

    The clients' clock alone proves it, so not even the time that a worker may lag behind is granted.
    """
    lasts = {pool: _last_before_a_return(case, rows) for pool, rows in _rows_by_pool(case).items()}
    for request in case.log.answered_with("sold_out"):
        last = lasts.get(request.pool)
        if last is not None and request.answered < case.log.sent[last]:
            cites = (case.log.cite(request.number), case.log.cite(last))
            yield Proof("sold_out was told, and a unit was given later that nobody had given back", cites)


def _last_before_a_return(case: Case, rows: list[Row]) -> int | None:
    """Of the requests that made a claim surely before any unit came back, the last one."""
    ended = [row for row in rows if not row.live]
    returned = [min((cancel.sent for cancel in case.cancellations(row)), default=-NEVER) for row in ended]
    if case.records.changed_at is not None:
        returned.append(case.records.changed_at / 1000 - GRACE_S)
    first = min(returned, default=NEVER)
    made = (case.made_by(row) for row in rows if case.known_since(row) < first)
    return max((request for request in made if request is not None), key=case.log.sent.__getitem__, default=None)
