"""Rules about one participant's answers: keys, and being answered at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ..case import GRACE_S, NEVER, Case, Story
from ..log import NOBODY, Request
from ..verdict import Proof
from .refusals import held_and_refused

FINAL = frozenset({200, 201, 400, 403, 404, 405, 409, 413, 415, 422})
"""Answers after which nothing is to be waited for."""


def _by_key(story: Story) -> dict[int, list[Request]]:
    """The claim requests that were answered with a claim, by their idempotency key."""
    found: dict[int, list[Request]] = defaultdict(list)
    for request in story.requests:
        if request.key != NOBODY and request.kind == "claim" and request.told:
            found[request.key].append(request)
    return found


def _made(request: Request) -> bool:
    """Whether its key made the claim: it was new, or had ended, and ended ones are found by the key alone."""
    return request.status == 201 or request.told[0].ended


def a_key_finds_one_claim(case: Case, story: Story) -> Iterator[Proof]:
    """A key that was answered with the claim that a person held already made none, and may make one later."""
    for requests in _by_key(story).values():
        if len({request.told[0].claim for request in requests}) < 2:
            continue
        found = [(row, request) for request in requests if (row := case.row_of[request.told[0].claim]) is not None]
        last = max((row.seq for row, _ in found), default=0)
        made = (request.answered for row, request in found if row.seq == last and _made(request))
        since = min(made, default=NEVER)
        for row, request in found:
            free = case.records.campaign.per_person == 1 and not row.live and not _made(request)
            if row.seq < last and (request.sent > since or not free):
                cites = (case.log.cite(other.number) for other in requests)
                yield Proof(f"one key of {story.name} found several claims", tuple(cites))
                break


def a_key_goes_on_finding_its_claim(case: Case, story: Story) -> Iterator[Proof]:
    by_key = _by_key(story)
    if not by_key:
        return
    known = set()
    if case.records.campaign.per_person == 1:
        known = {request.number for request, _ in held_and_refused(case, story)}
    for request in story.claims():
        if request.outcome not in {"sold_out", "limit_reached"} or request.number in known:
            continue
        for made in by_key.get(request.key, ()):
            if _made(made) and made.pool == request.pool and made.answered < request.sent:
                cites = (case.log.cite(made.number), case.log.cite(request.number))
                yield Proof(f"a key of {story.name} that made a claim was told {request.outcome}", cites)
                break


def a_claim_is_made_when_it_says(case: Case, story: Story) -> Iterator[Proof]:
    """`created_at` lies between the first request that could have made the claim and the first answer that told it."""
    for row in story.rows:
        made_by, until = case.made_by(row), case.told_at[case.number_of(row)]
        if made_by is None or case.log.sent[made_by] - GRACE_S <= row.created_s <= until + GRACE_S:
            continue
        cites = [row.cite(), case.log.cite(made_by)]
        if until < NEVER:
            cites.append(case.log.cite(case.told_by[case.number_of(row)]))
        yield Proof("a claim was made at another time than its row says", tuple(cites))


def everybody_is_answered(case: Case, story: Story) -> Iterator[Proof]:
    """Whoever asked has a final answer to that or a later request, or was shown a claim afterwards."""
    open_, answered = None, 0.0
    for request in story.requests:
        if request.kind == "claim" and request.status not in FINAL:
            open_ = request
        elif request.kind == "claim" or (request.kind == "mine" and request.status == 200 and request.told):
            answered = max(answered, request.answered if request.kind == "claim" else request.sent)
    if open_ is not None and answered <= open_.sent:
        yield Proof(f"{story.name} was never answered", (case.log.cite(open_.number),))


def a_confirmation_has_its_claim(case: Case, story: Story) -> Iterator[Proof]:
    for request in story.claims():
        if request.status not in (200, 201):
            continue
        if len(request.told) != 1:
            yield Proof(f"a confirmation with {len(request.told)} claims", (case.log.cite(request.number),))
        elif request.status == 201 and case.log.first_told[request.told[0].claim][1] != request.pool:
            yield Proof("a new claim is of another pool than was asked for", (case.log.cite(request.number),))


def a_claim_is_new_once(case: Case, story: Story) -> Iterator[Proof]:
    first: dict[int, Request] = {}
    for request in story.requests:
        if request.status == 201 and request.told:
            other = first.setdefault(request.told[0].claim, request)
            if other is not request:
                cites = (case.log.cite(other.number), case.log.cite(request.number))
                yield Proof("one claim was told as new twice", cites)
