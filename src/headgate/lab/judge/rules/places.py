"""Rules about what a participant holds, and is shown to hold."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case, Story
from ..log import Request
from ..verdict import Proof


def told_of_no_more_than_allowed(case: Case, story: Story) -> Iterator[Proof]:
    told = {telling.claim: request for request in story.requests for telling in request.told}
    if len(told) <= case.records.campaign.per_person:
        return
    live = {claim: row for claim in told if (row := case.row_of[claim]) is not None and row.live}
    if len(live) > case.records.campaign.per_person:
        cites = (cite for claim, row in live.items() for cite in (case.log.cite(told[claim].number), row.cite()))
        yield Proof(f"{story.name} was told of {len(live)} claims, all of them live", tuple(cites))


def _cancelled(story: Story) -> list[Request]:
    return [request for request in story.requests if request.kind == "cancel" and request.status == 200]


def cancelled_stays_cancelled(case: Case, story: Story) -> Iterator[Proof]:
    for request in _cancelled(story):
        row = case.row_of[request.names]
        if row is None:
            yield Proof("a claim was cancelled that the ledger does not have", (case.log.cite(request.number),))
        elif row.status != "cancelled":
            yield Proof(f"a claim was cancelled and is {row.status}", (case.log.cite(request.number), row.cite()))


def a_holder_finds_their_claim(case: Case, story: Story) -> Iterator[Proof]:
    """A cancellation, also a repeated one, is not told that there is no such claim."""
    for request in story.requests:
        if request.kind != "cancel" or request.status != 404:
            continue
        for row in story.rows:
            if case.number_of(row) == request.names and case.known_since(row) < request.sent:
                cites = (case.log.cite(request.number), row.cite())
                yield Proof(f"{story.name} was told that there is no such claim", cites)


def nothing_comes_back_to_life(case: Case, story: Story) -> Iterator[Proof]:
    """What was told to have ended is not live at the end, and is not told as live afterwards."""
    ended = {request.names: request for request in reversed(_cancelled(story))}
    for request in story.requests:
        for telling in request.told:
            row = case.row_of[telling.claim]
            if telling.ended and row is not None and row.live:
                yield Proof("a claim was told to have ended and is live", (case.log.cite(request.number), row.cite()))
            before = ended.get(telling.claim)
            if telling.live and before is not None and before.answered < request.sent:
                cites = (case.log.cite(before.number), case.log.cite(request.number))
                yield Proof("a claim was told as live after it was cancelled", cites)


def reads_show_what_was_there(case: Case, story: Story) -> Iterator[Proof]:
    for request in story.requests:
        if request.kind != "mine" or request.status != 200:
            continue
        shown = {telling.claim for telling in request.told}
        for row in story.rows:
            if case.number_of(row) not in shown and case.known_since(row) < request.sent:
                yield Proof("`mine` did not show a claim that was there", (case.log.cite(request.number), row.cite()))
