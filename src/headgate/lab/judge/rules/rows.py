"""Rules about the ledger alone: counted from its rows, trusting none of its constraints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..case import Case
from ..log import ENDED, LIVE
from ..records import Pool, Row
from ..verdict import Proof


def _live(case: Case) -> Counter[str | None]:
    return Counter(row.pool for row in case.records.rows if row.live)


def _cite(pool: Pool, live: int) -> str:
    return f"pool {pool.code}: capacity {pool.capacity}, remaining {pool.remaining}, {live} live claims counted"


def no_pool_gives_more_than_it_has(case: Case) -> Iterator[Proof]:
    live = _live(case)
    for pool in case.records.pools:
        if live[pool.code] > pool.capacity:
            yield Proof(f"{live[pool.code]} given of {pool.capacity}", (_cite(pool, live[pool.code]),))


def stock_and_claims_add_up(case: Case) -> Iterator[Proof]:
    live = _live(case)
    for pool in case.records.pools:
        off = pool.remaining + live[pool.code] - pool.capacity
        if off:
            what = f"{off} units came from nowhere" if off > 0 else f"{-off} units are gone"
            yield Proof(what, (_cite(pool, live[pool.code]),))


def what_remains_is_within_capacity(case: Case) -> Iterator[Proof]:
    for pool in case.records.pools:
        if not 0 <= pool.remaining <= pool.capacity:
            yield Proof(f"{pool.remaining} remain of {pool.capacity}", (f"pool {pool.code}",))


def every_claim_is_of_a_pool(case: Case) -> Iterator[Proof]:
    for row in case.records.rows:
        if row.pool is None:
            yield Proof("a claim names a pool that the campaign does not have", (row.cite(),))
    for id_ in case.records.strays:
        yield Proof("another campaign's claim takes from a pool of this one", (f"claim {id_}",))


def nobody_holds_too_many(case: Case) -> Iterator[Proof]:
    held = Counter(row.person for row in case.records.rows if row.live)
    too_many = {person: count for person, count in held.items() if count > case.records.campaign.per_person}
    for person, count in too_many.items():
        theirs = (row.cite() for row in case.records.rows if row.live and row.person == person)
        yield Proof(f"person {person.hex()} holds {count} of {case.records.campaign.per_person}", tuple(theirs))


def nobody_has_a_place_twice(case: Case) -> Iterator[Proof]:
    first: dict[tuple[bytes, int], Row] = {}
    for row in case.records.rows:
        other = first.setdefault((row.person, row.ordinal), row)
        if other is not row:
            yield Proof(f"place {row.ordinal} of one person is taken twice", (other.cite(), row.cite()))


def live_claims_have_a_place(case: Case) -> Iterator[Proof]:
    places = case.records.campaign.per_person
    for row in case.records.rows:
        if row.live and not 1 <= row.ordinal <= places:
            yield Proof(f"a live claim is in place {row.ordinal} of {places}", (row.cite(),))
        elif row.status in ENDED and row.ordinal > 0:
            yield Proof(f"a claim that has ended keeps place {row.ordinal}", (row.cite(),))


def an_id_is_of_one_claim(case: Case) -> Iterator[Proof]:
    first: dict[str, Row] = {}
    for row in case.records.rows:
        other = first.setdefault(row.id, row)
        if other is not row:
            yield Proof("two claims have one id", (other.cite(), row.cite()))


def a_key_makes_one_claim(case: Case) -> Iterator[Proof]:
    for person, count in case.records.keys_twice:
        yield Proof(f"one idempotency key of person {person.hex()} made {count} claims")


def claims_are_made_in_the_window(case: Case) -> Iterator[Proof]:
    campaign = case.records.campaign
    for row in case.records.rows:
        if not campaign.opens_at <= row.created_at < campaign.closes_at:
            window = f"opens_at {campaign.opens_at}, closes_at {campaign.closes_at}"
            yield Proof("a claim was made outside the window", (row.cite(), window))


def seq_has_neither_gaps_nor_doubles(case: Case) -> Iterator[Proof]:
    before = 0
    for seq in case.records.seqs:
        if seq <= before:
            what = f"seq {seq} is there twice" if seq == before else f"seq {seq} is below 1"
            yield Proof(what)
        elif seq > before + 1:
            missing = f"seq {before + 1}" if seq == before + 2 else f"seq {before + 1} to {seq - 1}"
            yield Proof(f"{missing} is missing")
        before = max(before, seq)


def states_are_known(case: Case) -> Iterator[Proof]:
    for row in case.records.rows:
        if row.status not in LIVE + ENDED:
            yield Proof(f"a claim is in a state that nobody knows: {row.status!r}", (row.cite(),))
