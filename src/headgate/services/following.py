"""Brings the shared gate up to the ledger: after every change, and from nothing after an erasure."""

from __future__ import annotations

from collections.abc import Iterable

from ..ports.ledger import ClaimLedger
from ..ports.shared_gate import NOWHERE, SharedGate

PAGE = 2_000
"""Claims that are taken over in one call; the gate does nothing else for about a millisecond."""
PAGES_MAX = 50
"""Of one campaign in one turn, so that the keeper's other duties wait a few seconds at most."""


class GateFollower:
    """Any number of programs may do it at the same time: what one has taken over the others find done."""

    def __init__(self, ledger: ClaimLedger, gate: SharedGate) -> None:
        self._ledger = ledger
        self._gate = gate

    def turn(self, campaign_ids: Iterable[int]) -> None:
        """Raises GateAway, LedgerError; the next turn goes on where this one stopped."""
        last_seq, _ = self._ledger.pulse(())
        for campaign_id in campaign_ids:
            self._follow(campaign_id, last_seq)

    def _follow(self, campaign_id: int, last_seq: int) -> None:
        place = self._gate.place(campaign_id)
        if place > last_seq:
            # It followed another history, for example that before a backup was restored.
            self._gate.erase(campaign_id)
            place = NOWHERE
        for _ in range(PAGES_MAX):
            if place == last_seq:
                return
            found = self._ledger.claimants(campaign_id, max(place, 0), last_seq, PAGE)
            up_to = found[-1][0] if len(found) == PAGE else last_seq
            if not self._gate.follow(campaign_id, place, up_to, [person for _, person in found]):
                return
            place = up_to
