"""Rules about everybody's answers together: what was told and what the ledger has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ..case import GRACE_S, NEVER, Case, unexplained
from ..log import ENDED, KINDS, NOBODY
from ..records import Row
from ..verdict import Proof
from .documented import is_documented


def answers_are_documented(case: Case) -> Iterator[Proof]:
    log = case.log
    strange = {
        combination
        for combination in log.combinations
        if combination[1] != NOBODY
        and not is_documented(KINDS[combination[0]], combination[1], log.word(combination[2]))
    }
    if not strange:
        return
    for number, combination in enumerate(zip(log.kind, log.status, log.outcome, strict=True)):
        if combination in strange:
            kind, status, outcome = combination
            yield Proof(f"{KINDS[kind]} was answered {status} {log.word(outcome)}", (log.cite(number),))


def what_exists_is_not_denied(case: Case) -> Iterator[Proof]:
    pools = {pool.code for pool in case.records.pools}
    for request in case.log.answered_with("wrong_pool"):
        if request.pool in pools:
            yield Proof(f"pool {request.pool} exists and was denied", (case.log.cite(request.number),))
    created_s = case.records.campaign.created_at / 1000
    for request in case.log.answered_with("unknown_campaign"):
        if request.sent > created_s + GRACE_S:
            yield Proof("the campaign exists and was denied", (case.log.cite(request.number),))


def what_was_told_is_there(case: Case) -> Iterator[Proof]:
    for number, row in enumerate(case.row_of):
        if row is None and case.told_at[number] < NEVER:
            what = f"claim {case.log.claim_id(number)} was told and is not in the campaign"
            yield Proof(what, (case.log.cite(case.told_by[number]),))


def a_claim_is_told_as_it_is(case: Case) -> Iterator[Proof]:
    """With its pool and code; and with its place, which it keeps as long as it is live."""
    for number, (code, pool) in enumerate(case.log.first_told):
        row = case.row_of[number]
        if row is not None and case.told_at[number] < NEVER and (code, pool) != (row.code, row.pool):
            yield Proof(f"told with code {code} in {pool}", (case.log.cite(case.told_by[number]), row.cite()))
    for request, told in case.log.told_otherwise:
        row = case.row_of[case.log.claims.find(told.id)]
        if row is not None and (told.code, told.pool) != (row.code, row.pool):
            yield Proof(f"told with code {told.code} in {told.pool}", (case.log.cite(request), row.cite()))
    ordinals = zip(case.log.telling_request, case.log.telling_claim, case.log.telling_ordinal, strict=True)
    for telling, (request, claim, ordinal) in enumerate(ordinals):
        row = case.row_of[claim]
        if row is not None and row.live and ordinal != row.ordinal and not case.log.telling(telling).ended:
            yield Proof(f"told with ordinal {ordinal}", (case.log.cite(request), row.cite()))


def people_are_told_apart(case: Case) -> Iterator[Proof]:
    """A person of the ledger is one participant of the log, and the other way round."""
    for confusion in case.confusions:
        cites = (case.log.cite(confusion.first), case.log.cite(confusion.second))
        same = confusion.rows[0].person == confusion.rows[1].person
        what = "two people were told of one person's claims" if same else "one was told of two people's claims"
        yield Proof(what, (*cites, *dict.fromkeys(row.cite() for row in confusion.rows)))


def nothing_ends_without_being_asked(case: Case) -> Iterator[Proof]:
    ended = [row for row in case.records.rows if row.status in ENDED]
    if not ended:
        return
    numbers = {case.number_of(row) for row in ended} - {NOBODY}
    confirmed = {
        claim
        for telling, claim in enumerate(case.log.telling_claim)
        if claim in numbers and case.log.telling(telling).status not in ("held", *ENDED)
    }
    for row in ended:
        if row.status == "expired":
            if case.number_of(row) in confirmed:
                yield Proof("a confirmed claim expired", (case.log.cite(case.told_by[case.number_of(row)]), row.cite()))
            continue
        asked = [cancel for cancel in case.cancellations(row) if _may_cancel(case, row, cancel.number)]
        if not asked:
            told = (case.log.cite(case.told_by[case.number_of(row)]),) if case.was_told(row) else ()
            yield Proof("a claim was cancelled without being asked for", (row.cite(), *told))
        elif row.ended_s is not None and row.ended_s < min(cancel.sent for cancel in asked) - GRACE_S:
            yield Proof("a claim ended before it was asked for", (row.cite(), case.log.cite(asked[0].number)))


def _may_cancel(case: Case, row: Row, cancellation: int) -> bool:
    """Whether the request came from the claim's own participant, as far as that is known."""
    person = case.person_of(case.log.participant[cancellation])
    return person == row.person or not case.is_known(row.person) or case.is_mixed(row.person)


def nothing_was_made_behind_a_refusal(case: Case) -> Iterator[Proof]:
    """A claim of which nobody was told needs a request in doubt, of somebody who was told of no other."""
    hidden: dict[str, list[tuple[float, Row]]] = defaultdict(list)
    for row in case.records.rows:
        if not case.was_told(row) and not case.is_known(row.person):
            hidden[row.pool or ""].append((case.known_since(row), row))
    for pool, rows in hidden.items():
        for row in unexplained(rows, case.openings.get(pool, [])):
            what = "a claim was told to nobody, and everybody who asked was refused (or a client's log is missing)"
            yield Proof(what, (row.cite(),))


def the_window_is_told_as_it_is(case: Case) -> Iterator[Proof]:
    campaign = case.records.campaign
    sent = case.log.sent.__getitem__
    for request in case.log.answered_with("not_open"):
        if request.sent > campaign.opens_at / 1000 + GRACE_S:
            yield Proof("the campaign was open and not_open was told", (case.log.cite(request.number),))
    last = max((made for row in case.records.rows if (made := case.made_by(row)) is not None), key=sent, default=None)
    closes_s = campaign.closes_at / 1000 - GRACE_S
    for request in case.log.answered_with("closed"):
        cites = [case.log.cite(request.number)]
        if last is not None and request.answered < sent(last):
            yield Proof("closed was told, and claims were made later", (*cites, case.log.cite(last)))
        elif campaign.control != "closed" and request.answered < closes_s:
            yield Proof(f"closed was told before closes_at {campaign.closes_at}", tuple(cites))


def paused_means_paused(case: Case) -> Iterator[Proof]:
    if case.records.changed_at is None and case.records.campaign.control == "active":
        for request in case.log.answered_with("paused"):
            yield Proof("paused was told, and no operator ever paused anything", (case.log.cite(request.number),))


def seq_follows_real_time(case: Case) -> Iterator[Proof]:
    """A claim that was told before another's first request was sent has the lower seq."""
    told = sorted(
        ((case.told_at[number], row.seq, number) for number, row in enumerate(case.row_of) if row is not None),
        reverse=True,
    )
    made = ((row, by) for row in case.records.rows if (by := case.made_by(row)) is not None)
    highest, witness = 0, NOBODY
    for row, by in sorted(made, key=lambda pair: case.log.sent[pair[1]]):
        while told and told[-1][0] < case.log.sent[by]:
            _, seq, number = told.pop()
            if seq > highest:
                highest, witness = seq, number
        if highest > row.seq:
            cites = (case.log.cite(case.told_by[witness]), case.log.cite(by))
            yield Proof(f"seq {row.seq} was asked for when seq {highest} had been told", cites)
