"""Rules about refusals: nobody who holds a claim is told that they lost, and what was refused was not done."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import GRACE_S, LOST, Case, Story, unexplained
from ..log import Request
from ..records import Row
from ..verdict import Proof


def a_holder_is_not_refused(case: Case, story: Story) -> Iterator[Proof]:
    """Where one claim is allowed, whoever holds it and asks again for its pool is given it again."""
    if case.records.campaign.per_person != 1 or not story.rows:
        return
    for request, row in held_and_refused(case, story):
        told = case.told_at[case.number_of(row)]
        cites = [case.log.cite(request.number), row.cite()]
        if told < request.sent:
            cites.append(case.log.cite(case.told_by[case.number_of(row)]))
        yield Proof(f"{story.name} held a claim and was told {request.outcome}", tuple(cites))


def held_and_refused(case: Case, story: Story) -> Iterator[tuple[Request, Row]]:
    """(refused request, claim of its pool that was held from before it was sent until after it was answered)."""
    for request in story.claims():
        if request.status != 409 or request.outcome not in LOST:
            continue
        for row in story.rows:
            if row.pool == request.pool and case.known_since(row) < request.sent and _held_until(case, row, request):
                yield request, row
                break


def _held_until(case: Case, row: Row, request: Request) -> bool:
    """Whether the claim was surely live when the request was answered."""
    if row.live:
        return True
    # One that ended without being asked is found by another rule.
    cancellations = case.cancellations(row)
    return bool(cancellations) and all(request.answered < cancellation.sent for cancellation in cancellations)


def the_limit_is_for_those_who_hold(case: Case, story: Story) -> Iterator[Proof]:
    if not story.rows and not story.stranger:
        return
    places = case.records.campaign.per_person
    for request in story.claims():
        if request.outcome != "limit_reached":
            continue
        if story.stranger:
            held = sum(doubt.sent <= request.answered for doubt in story.doubts())
        else:
            held = sum(_may_be_held(case, row, request) for row in story.rows)
        if held < places:
            cites = (case.log.cite(request.number), *(row.cite() for row in story.rows))
            yield Proof(f"{story.name} was told limit_reached with {held} of {places} claims at most", cites)


def _may_be_held(case: Case, row: Row, request: Request) -> bool:
    """Whether the claim may have been live at some time between the request and its answer."""
    if max(row.created_s - GRACE_S, case.made_since(row) or 0) > request.answered:
        return False
    if row.live:
        return True
    done = (cancel for cancel in case.cancellations(row) if cancel.status == 200)
    return not any(cancel.answered < request.sent for cancel in done)


def what_was_refused_was_not_made(case: Case, story: Story) -> Iterator[Proof]:
    """Each of a person's claims needs a request of its own that was confirmed, or left in doubt."""
    old = [
        (case.known_since(row), row)
        for row in story.rows
        if not any(request.status == 201 for request in story.makers[row.seq])
    ]
    if not old:
        return
    for pool in {row.pool for _, row in old}:
        doubts = [doubt.sent for doubt in story.doubts() if doubt.pool == pool]
        for row in unexplained([known for known in old if known[1].pool == pool], doubts):
            asked = (case.log.cite(request.number) for request in story.claims() if request.pool == pool)
            yield Proof(f"{story.name} was refused, and yet has a claim", (row.cite(), *asked))
