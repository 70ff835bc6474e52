"""What a reader wants to know beside the violations."""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable

from .case import Case
from .log import KINDS, NOBODY, Log
from .verdict import Counts


def count(case: Case) -> Counts:
    log, rows = case.log, case.records.rows
    refusals: Counter[str] = Counter()
    no_answers = 0
    for (kind, status, outcome), requests in log.combinations.items():
        if KINDS[kind] == "claim" and status == NOBODY:
            no_answers += requests
        elif KINDS[kind] == "claim" and status >= 300:
            refusals[log.word(outcome) or str(status)] += requests
    hidden = sum(not case.was_told(row) for row in rows)
    new = _told_as_new(log)
    return Counts(
        persons=len(log.participants),
        requests=len(log),
        confirmed=len(set(log.telling_claim)),
        refusals=dict(sorted(refusals.items())),
        no_answers=no_answers,
        unknown_answers=refusals["unknown"],
        made_in_doubt=hidden + sum(case.was_told(row) and case.number_of(row) not in new for row in rows),
        told_to_nobody=hidden,
        rows=len(rows),
        live=sum(row.live for row in rows),
        longest_silence_s=round(longest_silence(log), 3),
    )


def _told_as_new(log: Log) -> set[int]:
    tellings = zip(log.telling_request, log.telling_claim, strict=True)
    return {claim for request, claim in tellings if log.status[request] == 201}


def longest_silence(log: Log) -> float:
    """Seconds between two answers other than 503, from the first request that waited or was sent in between."""
    sent, ended = _in_order(log.sent), _in_order(log.answered)
    answers = zip(log.answered, log.status, strict=True)
    heard = _in_order(answered for answered, status in answers if status not in (NOBODY, 503))
    longest = 0.0
    for before, after in itertools.pairwise(itertools.chain(sent[:1], heard, ended[-1:])):
        if after - before > longest:
            longest = max(longest, after - _first_waiting(sent, ended, before))
    return longest


def _in_order(times: Iterable[float]) -> array[float]:
    """As a list, three million times would take four times as much."""
    return array("d", sorted(times))


def _first_waiting(sent: array[float], ended: array[float], moment: float) -> float:
    """From when on, at `moment` or later, somebody waited for an answer."""
    if bisect_right(sent, moment) > bisect_right(ended, moment):
        return moment
    later = bisect_left(sent, moment)
    return sent[later] if later < len(sent) else moment
