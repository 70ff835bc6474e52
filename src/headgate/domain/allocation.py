"""Who of a batch gets what: the one place where stock is given away, as a pure function.

The ledger reads rules, stock and what the persons already hold inside its transaction, calls
`allocate`, writes what was granted and commits.  Requests are served strictly in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from .campaign import Control, window_refusal
from .claim import LIVE, Claim, ClaimRequest, Granted, PersonKey
from .outcome import KEY_REUSED, LIMIT_REACHED, SOLD_OUT, UNKNOWN_CAMPAIGN, WRONG_POOL, Refusal


class Rules(msgspec.Struct, frozen=True, gc=False):
    """What the ledger says about a campaign at the moment of the transaction (times in ms)."""

    control: Control
    opens_at_ms: int
    closes_at_ms: int
    per_person: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """A claim with what its owner does not see."""

    claim: Claim
    pool_id: int
    key_digest: bytes | None
    body_digest: bytes | None


Mint = Callable[[ClaimRequest, int], Claim]
"""Makes the claim of a request at an ordinal."""


def earlier_answer(request: ClaimRequest, records: Sequence[Record], per_person: int) -> Granted | Refusal | None:
    """What the person's own records already answer; None where the request asks for something new.

    An idempotency key finds its claim whatever became of it, so that a retry after a cancellation takes
    nothing.  Without a key, asking again for the one claim that the campaign allows gives that claim.
    """
    if request.key_digest is not None:
        for record in records:
            if record.key_digest == request.key_digest:
                return Granted(record.claim, True) if record.body_digest == request.body_digest else KEY_REUSED
    live = [record for record in records if record.claim.status in LIVE]
    if len(live) < per_person:
        return None
    if per_person == 1 and live[0].pool_id == request.pool_id:
        return Granted(live[0].claim, True)
    return LIMIT_REACHED


def free_ordinal(records: Sequence[Record]) -> int:
    """The lowest place that none of the person's live claims occupies."""
    taken = {record.claim.ordinal for record in records}
    ordinal = 1
    while ordinal in taken:
        ordinal += 1
    return ordinal


def allocate(
    batch: Sequence[ClaimRequest],
    rules: dict[int, Rules],
    stock: dict[int, tuple[int, int]],
    held: dict[PersonKey, list[Record]],
    now_ms: int,
    mint: Mint,
) -> list[Granted | Refusal]:
    """Decide every request of `batch` in order.

    `stock` maps pool id to (campaign id, units left) and is counted down in place.  `held` maps persons
    to what they have and had; it must be complete for every person of the batch, and grows with what is
    granted here, so that two requests of one person in the same batch see each other.
    """
    decisions: list[Granted | Refusal] = []
    closed = {
        id_: window_refusal(rule.control, rule.opens_at_ms, rule.closes_at_ms, now_ms) for id_, rule in rules.items()
    }
    for request in batch:
        campaign_id = request.campaign_id
        rule = rules.get(campaign_id)
        if rule is None:
            decisions.append(UNKNOWN_CAMPAIGN)
            continue
        person_key = (campaign_id, request.person)
        records = held.get(person_key)
        if records:
            answer = earlier_answer(request, records, rule.per_person)
            if answer is not None:
                decisions.append(answer)
                continue
        refusal = closed[campaign_id]
        if refusal is not None:
            decisions.append(refusal)
            continue
        owner, remaining = stock.get(request.pool_id, (None, 0))
        if owner != campaign_id:
            decisions.append(WRONG_POOL)
            continue
        if remaining <= 0:
            decisions.append(SOLD_OUT)
            continue
        stock[request.pool_id] = (campaign_id, remaining - 1)
        claim = mint(request, free_ordinal(records) if records else 1)
        record = Record(claim, request.pool_id, request.key_digest, request.body_digest)
        if records is None:
            held[person_key] = [record]
        else:
            records.append(record)
        decisions.append(Granted(claim, False))
    return decisions
