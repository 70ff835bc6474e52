"""The judge: reads the ledger's tables and the clients' log, and knows nothing of the code that wrote them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

LIVE = ("held", "confirmed", "redeemed")
LOST = frozenset({"sold_out", "limit_reached", "closed", "paused"})
"""Refusals that tell a person "you did not get it"; `not_open` says "not yet", whatever the clock of a worker."""


STALE_S = 8.0
"""How long after stock returned a gate may still refuse: the slowest step, a restart and a refresh."""


class Violation(AssertionError):
    """An invariant does not hold; the message begins with its id in docs/reference/invariants.md."""


class Answer(NamedTuple):
    """One answer as its client saw it; `made` says that the answer was 201, a new claim."""

    person: bytes
    pool: str
    key: str | None
    body: str
    sent_at: float
    answered_at: float
    outcome: str
    claim_id: str | None
    code: str | None
    made: bool


class ToldEvent(NamedTuple):
    """An event as its receiver got it."""

    id: str
    type: str
    claim_id: str
    campaign: str
    pool: str
    at: int
    position: str


class Row(NamedTuple):
    seq: int
    id: str
    pool: str
    person: bytes
    ordinal: int
    status: str
    code: str
    created_at: int


class Judge:
    """`opens_ms` and `closes_ms` by the ledger's clock."""

    def __init__(self, path: Path, opens_ms: int, closes_ms: int, per_person: int) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._opens_ms = opens_ms
        self._closes_ms = closes_ms
        self._per_person = per_person
        self._rows: dict[str, Row] = {}
        self._committed_at: dict[str, float] = {}
        self._ended_at: dict[str, float] = {}
        self._last_seq = 0
        self._had_stock_since: dict[str, float | None] = {}

    def close(self) -> None:
        self._connection.close()

    def after_commit(self, now: float, control: str) -> None:
        """Called whenever a transaction may have committed; `control` is the operator's last word before it."""
        self._stock_balances()
        for pool, units in self.remaining().items():
            since = self._had_stock_since.get(pool)
            if not units:
                self._had_stock_since[pool] = None
            elif since is None:
                self._had_stock_since[pool] = now
        for row in self._read():
            known = self._rows.get(row.id)
            if known is None:
                self._new_row(row, control)
                self._committed_at[row.id] = now
            elif known.status in LIVE and row.status not in LIVE:
                self._ended_at[row.id] = now
            elif known.status not in LIVE and row.status in LIVE:
                raise Violation(f"I6 claim {row.id} came back to life")
            self._rows[row.id] = row
        self._nobody_holds_too_much()
        self._keys_made_one_claim_each()
        self._outbox_tells_everything()

    def _keys_made_one_claim_each(self) -> None:
        twice = self._connection.execute(
            "SELECT hex(person), hex(key_digest), count(*) FROM claim WHERE key_digest IS NOT NULL"
            " GROUP BY person, key_digest HAVING count(*) > 1"
        ).fetchone()
        if twice is not None:
            raise Violation(f"I7 the key {twice[1]} of person {twice[0]} made {twice[2]} claims")

    def _read(self) -> list[Row]:
        return [
            Row(*row)
            for row in self._connection.execute(
                "SELECT claim.seq, claim.id, pool.code, claim.person, claim.ordinal, claim.status, claim.code,"
                " claim.created_at FROM claim JOIN pool ON pool.id = claim.pool_id ORDER BY claim.seq"
            )
        ]

    def _stock_balances(self) -> None:
        for code, capacity, remaining, live in self._connection.execute(
            "SELECT pool.code, capacity, remaining, (SELECT count(*) FROM claim WHERE claim.pool_id = pool.id"
            " AND status IN ('held', 'confirmed', 'redeemed')) FROM pool"
        ):
            if live > capacity:
                raise Violation(f"I1 pool {code} has {live} live claims for {capacity} units")
            if remaining + live != capacity:
                raise Violation(f"I5 pool {code}: {remaining} left + {live} live is not {capacity}")

    def _new_row(self, row: Row, control: str) -> None:
        if row.seq != self._last_seq + 1:
            raise Violation(f"I9 claim {row.id} has seq {row.seq} after {self._last_seq}")
        self._last_seq = row.seq
        if not self._opens_ms <= row.created_at < self._closes_ms:
            raise Violation(f"I8 claim {row.id} was made at {row.created_at}, outside the window")
        if control != "active":
            raise Violation(f"I8 claim {row.id} was made while the campaign was {control}")

    def _nobody_holds_too_much(self) -> None:
        held: dict[bytes, int] = {}
        for row in self._rows.values():
            if row.status in LIVE:
                held[row.person] = held.get(row.person, 0) + 1
        for person, count in held.items():
            if count > self._per_person:
                raise Violation(f"I2 person {person.hex()} holds {count}, {self._per_person} allowed")

    def _outbox_tells_everything(self) -> None:
        """Its rows name every claim once, as they were committed, and every cancellation once, and later."""
        confirmed: list[int] = []
        cancelled: list[int] = []
        for kind, first, last in self._connection.execute("SELECT kind, first_seq, last_seq FROM outbox ORDER BY id"):
            seqs = range(first, last + 1)
            if kind == "claim.confirmed":
                confirmed += seqs
            elif not set(seqs) <= set(confirmed):
                raise Violation(f"I13 claims {first} to {last} are told of as {kind} before they are confirmed")
            else:
                cancelled += seqs
        if confirmed != [row.seq for row in self._rows.values()]:
            raise Violation(f"I13 the outbox tells of {len(confirmed)} claims, and {len(self._rows)} are committed")
        ended = sorted(row.seq for row in self._rows.values() if row.status == "cancelled")
        if sorted(cancelled) != ended:
            raise Violation(f"I13 the outbox tells of {len(cancelled)} cancellations, and {len(ended)} are committed")

    def received(self, events: list[ToldEvent]) -> None:
        """Everything that a receiver ever got: each change at least once, under one id, and in order."""
        known: dict[str, ToldEvent] = {}
        for event in events:
            first = known.setdefault(event.id, event)
            if event != first:
                raise Violation(f"I13 event {event.id} was told as {first} and as {event}")
            if event.type == "claim.cancelled" and f"{event.claim_id}.confirmed" not in known:
                raise Violation(f"I13 event {event.id} was told before its claim was confirmed")
            row = self._rows.get(event.claim_id)
            if row is None or (row.pool, f"claim.{event.id.partition('.')[2]}") != (event.pool, event.type):
                raise Violation(f"I13 event {event.id} tells what is not recorded: {event}")
        expected = {f"{row.id}.confirmed" for row in self._rows.values()}
        expected |= {f"{row.id}.cancelled" for row in self._rows.values() if row.status == "cancelled"}
        if known.keys() != expected:
            missing = sorted(expected - known.keys())
            raise Violation(f"I13 of {len(expected)} events {len(missing)} were never told: {missing[:3]}")

    def told(self, answer: Answer) -> None:
        """Called with every answer at the moment at which its client has it."""
        since = self._had_stock_since.get(answer.pool)
        if answer.outcome == "sold_out" and since is not None and since < answer.sent_at - STALE_S:
            raise Violation(
                f"X2 {answer.pool} was called sold out at {answer.answered_at:.3f}, with stock since {since:.3f}"
            )

    def nothing_left(self, person: bytes, asked_at: float, answered_at: float, lost_at: list[float]) -> None:
        """Called when somebody who waited is told of no claim, no refusal and no request of theirs.

        `lost_at`: when the queue lost something.
        """
        if not any(asked_at <= moment <= answered_at for moment in lost_at):
            raise Violation(
                f"I3 the request of {person.hex()}, which waited since {asked_at:.3f}, was gone at {answered_at:.3f}"
            )

    def verdict(self, answers: list[Answer]) -> None:
        """Everything that was said against everything that is recorded."""
        by_key: dict[tuple[bytes, str], list[Answer]] = {}
        for answer in answers:
            if answer.claim_id is not None:
                self._confirmed_is_recorded(answer)
                if answer.key is not None:
                    by_key.setdefault((answer.person, answer.key), []).append(answer)
            elif answer.outcome in LOST:
                self._not_lost_after_commit(answer)
        for same_key in by_key.values():
            self._key_makes_one_claim(same_key)

    def _key_makes_one_claim(self, answers: list[Answer]) -> None:
        """A key belongs to the claim that it made: it makes no second one, and finds that one ever after."""
        made = {answer.claim_id for answer in answers if answer.made}
        if len(made) > 1:
            raise Violation(f"I7 key {answers[0].key} made {sorted(map(str, made))}")
        for claim_id in made:
            committed = self._committed_at[str(claim_id)]
            for answer in answers:
                if answer.sent_at > committed and answer.claim_id != claim_id:
                    raise Violation(f"I7 key {answer.key} made {claim_id} and was answered with {answer.claim_id}")

    def _confirmed_is_recorded(self, answer: Answer) -> None:
        row = self._rows.get(answer.claim_id or "")
        if row is None:
            raise Violation(f"I3 claim {answer.claim_id} was confirmed and is not in the ledger")
        if (row.person, row.code) != (answer.person, answer.code):
            raise Violation(f"I3 claim {answer.claim_id} was confirmed to somebody else or with another code")
        if self._committed_at[row.id] > answer.answered_at:
            raise Violation(f"I4 claim {answer.claim_id} was confirmed before it was committed")

    def _not_lost_after_commit(self, answer: Answer) -> None:
        """Whoever held all they may, in that pool, while they asked, must not have been told that they lost."""
        if self._per_person != 1:
            return
        for row in self._rows.values():
            if row.person != answer.person or row.pool != answer.pool:
                continue
            committed = self._committed_at[row.id]
            ended = self._ended_at.get(row.id, float("inf"))
            if committed < answer.sent_at and ended > answer.answered_at:
                raise Violation(
                    f"I4 {answer.outcome} at {answer.answered_at:.3f} for claim {row.id}, committed at {committed:.3f}"
                )

    def remaining(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT code, remaining FROM pool"))

    def live(self, person: bytes) -> list[Row]:
        return [row for row in self._rows.values() if row.person == person and row.status in LIVE]
