"""What one person has in a campaign, and waits for."""

from __future__ import annotations

from typing import NamedTuple

from ..domain.claim import LIVE, Claim
from ..domain.outcome import QUEUE_NOT_READ, Outcome
from ..ports.queue import QueueState
from ..services.book import Entry
from .plane import Shard
from .refused import Refused

# Of no interest to somebody who holds all that they may: they had it later, or from elsewhere.
_LOST = frozenset({Outcome.SOLD_OUT, Outcome.CLOSED, Outcome.PAUSED, Outcome.NOT_OPEN})


class Own(NamedTuple):
    """`state` is None where nothing waits in this campaign."""

    claims: list[Claim]
    live: int
    state: QueueState | None


NOTHING = Own([], 0, None)


async def look_up(shard: Shard, entry: Entry, person: bytes) -> Own:
    """Raises Refused."""
    with shard.permit():
        state = None
        if shard.queued is not None and entry.queued:
            # Before the ledger.  What is decided between the two questions is then seen twice, as waiting and as a
            # claim; the other way round it would be seen by neither, and its person would ask again.
            state = await shard.queued.state_of(entry, person)
        claims = await shard.reader.claims_of(entry.campaign.id, person)
    if state is not None and state.pending is None and not claims:
        # "Nothing" would be a guess, and whoever believes it asks again.
        raise Refused(QUEUE_NOT_READ)
    live = sum(claim.status in LIVE for claim in claims)
    if state is not None and state.outcome in _LOST and live >= entry.campaign.per_person:
        state = QueueState(state.pending)
    return Own(claims, live, state)
