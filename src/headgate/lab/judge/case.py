"""What follows from log and ledger together, before any rule is applied.

Theory of operation. Two clocks are compared as little as possible. What clients saw is on one clock, and order is
proved by it alone: what was told before another request was sent had happened before it. `seq` is the order of
commitment, so a claim was committed by the time at which it, or any claim with a higher `seq`, was told to anybody:
`known_since`. Only where nothing of that kind was told does the ledger's own `created_at` count, with `GRACE_S` added.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby

import msgspec

from .log import NOBODY, Log, Request
from .records import Records, Row

GRACE_S = 10.0
"""How far a commit may be from its `created_at`, a client's clock from the ledger's, a worker behind the ledger."""

NEVER = math.inf


class Story(msgspec.Struct, frozen=True):
    """One participant: what they asked in the order of asking, and what the ledger holds of theirs."""

    name: str
    requests: list[Request]
    rows: tuple[Row, ...]
    """By seq; empty where nothing tells which person of the ledger this is."""
    stranger: bool
    """Whether they may be a person of the ledger that is nobody else: they were told of no claim that it has."""
    makers: dict[int, list[Request]]
    """The requests that may have made each of `rows`, by its seq."""

    def claims(self) -> Iterator[Request]:
        return (request for request in self.requests if request.kind == "claim")

    def doubts(self) -> Iterator[Request]:
        return (request for request in self.requests if request.kind == "claim" and request.in_doubt)


class Confusion(msgspec.Struct, frozen=True):
    """Two answers that make one person two, or two one."""

    first: int
    second: int
    """Numbers of the requests."""
    rows: tuple[Row, Row]


class Case:
    def __init__(self, log: Log, records: Records) -> None:
        self.log, self.records = log, records
        self.row_of: list[Row | None] = [None] * len(log.first_told)
        """The row of each claim that the log knows, by its number there."""
        for row in records.rows:
            self.row_of[self.number_of(row)] = row
        self.row_of[NOBODY] = None
        self.told_at, self.told_by = self._first_tellings()
        self._seqs = array("q", (row.seq for row in records.rows))
        self._known_since = self._committed_by()
        self._rows_of = {
            person: tuple(rows)
            for person, rows in groupby(sorted(records.rows, key=_person_and_seq), key=lambda row: row.person)
        }
        self.confusions: list[Confusion] = []
        self._mixed: set[int | bytes] = set()
        """Participants and persons that are not one to one; nothing is concluded about them."""
        self._first_of_participant = array("I", [0]) * (len(log.participants) + 1)
        self._first_of_person: dict[bytes, int] = {}
        self._identify()
        self._made_by = array("q", [-1]) * len(self._seqs)
        """The first request that may have made each row, in their order; -1 where no story tells of one."""
        self.cancelled_by: dict[int, list[Request]] = defaultdict(list)
        """Requests that may have cancelled a claim, by its number."""
        self.openings: dict[str, list[float]] = defaultdict(list)
        """By pool: for each claim that a stranger may have made, since when it may have been."""

    def _first_tellings(self) -> tuple[array[float], array[int]]:
        """When each claim was told first, and by which request, by the claim's number."""
        at, by = array("d", [NEVER]) * len(self.row_of), array("I", [0]) * len(self.row_of)
        for request, claim in zip(self.log.telling_request, self.log.telling_claim, strict=True):
            answered = self.log.answered[request]
            if answered < at[claim]:
                at[claim], by[claim] = answered, request
        return at, by

    def _committed_by(self) -> array[float]:
        """For each row, in their order, when it or a later one was told first."""
        since, earliest = array("d", [NEVER]) * len(self._seqs), NEVER
        for place in range(len(self._seqs) - 1, -1, -1):
            earliest = min(earliest, self.told_at[self.number_of(self.records.rows[place])])
            since[place] = earliest
        return since

    def _identify(self) -> None:
        """Find which person of the ledger each participant is, by the claims that they were told of."""
        confused: set[tuple[int, bytes]] = set()
        for telling, (request, claim) in enumerate(
            zip(self.log.telling_request, self.log.telling_claim, strict=True), 1
        ):
            row, participant = self.row_of[claim], self.log.participant[request]
            if row is None:
                continue
            mine = self._first_of_participant[participant] = self._first_of_participant[participant] or telling
            theirs = self._first_of_person.setdefault(row.person, telling)
            for first in {mine, theirs}:
                other, by = self._told_in(first)
                if (by, other.person) == (participant, row.person) or (participant, row.person) in confused:
                    continue
                confused.add((participant, row.person))
                self._mixed |= {participant, row.person, by, other.person}
                self.confusions.append(Confusion(self.log.telling_request[first - 1], request, (other, row)))

    def _told_in(self, telling: int) -> tuple[Row, int]:
        """(row, participant) of a telling that is known to be of a row; tellings are counted from 1 here."""
        row = self.row_of[self.log.telling_claim[telling - 1]]
        assert row is not None, "only tellings of rows are kept"
        return row, self.log.participant[self.log.telling_request[telling - 1]]

    def person_of(self, participant: int) -> bytes | None:
        """The ledger's person, where it is this participant and nobody else."""
        telling = self._first_of_participant[participant]
        if not telling or participant in self._mixed:
            return None
        person = self._told_in(telling)[0].person
        return None if person in self._mixed else person

    def is_known(self, person: bytes) -> bool:
        """Whether some participant is this person of the ledger, or may be."""
        return person in self._first_of_person

    def known_since(self, row: Row) -> float:
        """By when this row was surely committed."""
        return min(self._known_since[self._place(row)], row.created_s + GRACE_S)

    def made_by(self, row: Row) -> int | None:
        """The first request that may have made the claim, once its participant's story was heard."""
        request = self._made_by[self._place(row)]
        return None if request < 0 else request

    def made_since(self, row: Row) -> float | None:
        """When the claim can have been made at the earliest."""
        request = self.made_by(row)
        return None if request is None else self.log.sent[request]

    def _place(self, row: Row) -> int:
        return bisect_left(self._seqs, row.seq)

    def number_of(self, row: Row) -> int:
        """The claim's number in the log; NOBODY where it does not occur there."""
        return self.log.claims.find(row.id)

    def was_told(self, row: Row) -> bool:
        return self.told_at[self.number_of(row)] < NEVER

    def is_mixed(self, person: bytes) -> bool:
        """Whether several participants are this person, so that nothing is concluded."""
        return person in self._mixed

    def stories(self) -> Iterator[Story]:
        """Each participant once; what concerns others is gathered on the way, and whole only at the end."""
        for participant, requests in self.log.by_participant():
            person = self.person_of(participant)
            rows = () if person is None else self._rows_of[person]
            makers = {row.seq: self._makers(row, requests) for row in rows}
            stranger = person is None and participant not in self._mixed
            story = Story(self.log.participants.texts[participant] or "", requests, rows, stranger, makers)
            self._gather(story)
            yield story

    def _makers(self, row: Row, requests: list[Request]) -> list[Request]:
        """The requests that may have made it: the one that was told so, or those in doubt before it was told."""
        number = self.number_of(row)
        # Not `known_since`: whether seq tells the order is to be judged by this.
        until = min(self.told_at[number], row.created_s + GRACE_S)
        told_new = [
            request
            for request in requests
            if request.status == 201 and any(telling.claim == number for telling in request.told)
        ]
        return told_new or [
            request
            for request in requests
            if request.kind == "claim" and request.in_doubt and request.pool == row.pool and request.sent <= until
        ]

    def _gather(self, story: Story) -> None:
        for row in story.rows:
            first = min(story.makers[row.seq], key=lambda request: request.sent, default=None)
            if first is not None:
                # An attempt whose answer was lost may have made it, even where a later one was told so.
                early = min((doubt for doubt in story.doubts() if doubt.pool == row.pool), key=_sent, default=first)
                first = min(first, early, key=_sent)
                self._made_by[self._place(row)] = first.number
        for request in story.requests:
            if request.may_have_cancelled:
                self.cancelled_by[request.names].append(request)
        if story.stranger:
            for pool, since in _openings(story, self.records.campaign.per_person):
                self.openings[pool].append(since)

    def cancellations(self, row: Row) -> list[Request]:
        return self.cancelled_by.get(self.number_of(row), [])


LOST = frozenset({"sold_out", "limit_reached", "closed", "paused"})
"""Refusals that a person does not get who holds what they ask for; `not_open` is "not yet", by a worker's own clock."""


def _openings(story: Story, per_person: int) -> Iterator[tuple[str, float]]:
    """(pool, since) of each claim that a participant may have who was told of none.

    Somebody who was told that they lost, or was shown that they hold nothing, did not hold it then.
    """
    shown_none = (r.sent for r in story.requests if r.kind == "mine" and r.status == 200 and not r.told)
    empty_handed = max(shown_none, default=0.0)
    if per_person > 1:
        yield from ((doubt.pool or "", max(doubt.sent, empty_handed)) for doubt in story.doubts())
        return
    for pool in {doubt.pool for doubt in story.doubts()}:
        sent = min(doubt.sent for doubt in story.doubts() if doubt.pool == pool)
        refused = (r.sent for r in story.claims() if r.pool == pool and r.status == 409 and r.outcome in LOST)
        yield pool or "", max(sent, empty_handed, *refused)


def unexplained(rows: list[tuple[float, Row]], openings: list[float]) -> Iterator[Row]:
    """Of (known since, row), those for which no opening is left: each takes one that began before it was known."""
    openings = sorted(openings)
    begun = used = 0
    for since, row in sorted(rows, key=lambda known: (known[0], known[1].seq)):
        while begun < len(openings) and openings[begun] <= since:
            begun += 1
        if used < begun:
            used += 1
        else:
            yield row


def _person_and_seq(row: Row) -> tuple[bytes, int]:
    return row.person, row.seq


def _sent(request: Request) -> float:
    return request.sent
