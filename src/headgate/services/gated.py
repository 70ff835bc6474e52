"""A ledger behind a shared gate: who is certain to get nothing costs the ledger one small question a batch.

Theory of operation.  Once a pool is empty, most who ask for it hold nothing, and the ledger would look up
each of them to say so.  The shared gate knows who has claimed, up to a place in the ledger's order.  It may
have been erased, have failed over and lost what it took last, or lag: so the ledger says, after the
requests came in, which claim was its last and whether the pool is empty.  Only where the gate has come
exactly that far does "this person is not known" mean that they hold nothing, and only then are they refused
without being looked up.  Nothing is taken or counted at the gate, so nothing has to come back to it when
a node dies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from ..domain.claim import Claim, ClaimRequest, Granted
from ..domain.outcome import SOLD_OUT, Refusal
from ..ports.gate import GateAway
from ..ports.ledger import BatchResult, ClaimLedger, PoolStock
from ..ports.shared_gate import SharedGate

AWAY_S = 1.0
"""After a call that failed the gate is left alone so long, and the ledger asked instead."""

_log = structlog.get_logger("headgate.gate")


class Rest:
    """Whoever failed is left alone for AWAY_S; the first failure of a row is logged."""

    def __init__(self, clock_s: Callable[[], float], event: str, action: str) -> None:
        """`clock_s` never steps (seconds); the log calls a failure `event`, and tells the `action`."""
        self._clock_s = clock_s
        self._event = event
        self._action = action
        self._until_s = 0.0
        self._away = False

    def resting(self) -> bool:
        return self._clock_s() < self._until_s

    def begin(self, error: Exception) -> None:
        if not self._away:
            _log.error(self._event, error=str(error), action=self._action)
        self._away = True
        self._until_s = self._clock_s() + AWAY_S

    def over(self) -> None:
        """It has answered."""
        self._away = False


def gate_rest(clock_s: Callable[[], float]) -> Rest:
    """For a shared gate."""
    return Rest(clock_s, "gate_away", "asking the ledger instead")


class GatedClaims:
    """See `headgate.ports.ledger.DecidingLedger`."""

    def __init__(self, ledger: ClaimLedger, gate: SharedGate, rest: Rest) -> None:
        self._ledger = ledger
        self._gate = gate
        self._rest = rest
        # Pools that were empty when the ledger last spoke of them; a belief, which only says whom to ask about.
        self._empty: set[int] = set()

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        refused = self._refused(batch)
        if not refused:
            return self._ask(batch, fresh)
        rest = [index for index in range(len(batch)) if index not in refused]
        decisions: list[Granted | Refusal] = [SOLD_OUT] * len(batch)
        if not rest:
            return BatchResult(decisions, [])
        asked = self._ask([batch[index] for index in rest], [fresh[index] for index in rest])
        for index, decision in zip(rest, asked.decisions, strict=True):
            decisions[index] = decision
        return BatchResult(decisions, asked.stock)

    def cancel(self, campaign_id: int, person: bytes, claim_id: str) -> tuple[Claim | Refusal, list[PoolStock]]:
        ended, stock = self._ledger.cancel(campaign_id, person, claim_id)
        self._learn(stock)
        return ended, stock

    def close(self) -> None:
        self._ledger.close()

    def _ask(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        result = self._ledger.confirm(batch, fresh)
        self._learn(result.stock)
        for request, decision in zip(batch, result.decisions, strict=True):
            if decision is SOLD_OUT:
                self._empty.add(request.pool_id)
        return result

    def _learn(self, stock: Sequence[PoolStock]) -> None:
        for pool in stock:
            (self._empty.discard if pool.remaining else self._empty.add)(pool.pool_id)

    def _refused(self, batch: Sequence[ClaimRequest]) -> set[int]:
        """Which requests of the batch get nothing for certain, by their index."""
        doubtful: dict[int, list[int]] = {}
        for index, request in enumerate(batch):
            if request.pool_id in self._empty:
                doubtful.setdefault(request.campaign_id, []).append(index)
        if not doubtful or self._rest.resting():
            return set()
        strangers: list[tuple[int, int]] = []
        try:
            for campaign_id, indexes in doubtful.items():
                seen = self._gate.seen(campaign_id, [batch[index].person for index in indexes])
                strangers += [
                    (index, seen.up_to) for index, known in zip(indexes, seen.known, strict=True) if not known
                ]
            self._rest.over()
        except GateAway as error:
            self._rest.begin(error)
            return set()
        if not strangers:
            return set()
        # After the gate: what was committed before the requests came in is counted here.
        last_seq, remaining = self._ledger.pulse({batch[index].pool_id for index, _ in strangers})
        self._empty -= {pool_id for pool_id, units in remaining.items() if units}
        return {
            index for index, up_to in strangers if up_to == last_seq and remaining.get(batch[index].pool_id, 1) == 0
        }
