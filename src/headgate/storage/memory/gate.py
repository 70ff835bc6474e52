"""The in-process gate of one worker."""

from __future__ import annotations

from collections.abc import Iterable

from ...domain.outcome import SOLD_OUT, Refusal
from ...ports.gate import Admission
from ...services.stock import StockBoard

PERSONS_MAX = 4_000_000
"""Persons remembered over all campaigns: about 100 bytes each, so that a worker stays under half a gigabyte."""


class MemoryGate:
    """Remembers who has claimed; see `headgate.ports.gate.Gate`.

    `exclusive` says that every claim passes through this process, so that what the gate does not know
    does not exist.  Only then may it refuse somebody with "sold out" by itself: otherwise that person's
    claim may have been committed by another process a moment ago, and the ledger is asked instead.
    """

    def __init__(self, board: StockBoard, *, exclusive: bool, persons_max: int = PERSONS_MAX) -> None:
        self._board = board
        self._exclusive = exclusive
        self._persons_max = persons_max
        self._person_count = 0
        # Only campaigns of which every person is known; all others are the ledger's business.
        self._persons: dict[int, set[bytes]] = {}

    def admit(self, campaign_id: int, pool_id: int, person: bytes) -> Admission | Refusal:
        persons = self._persons.get(campaign_id)
        if persons is None or person in persons:
            return Admission.ASK
        return SOLD_OUT if self._board.empty(pool_id) else Admission.FRESH

    def knows(self, campaign_id: int, person: bytes) -> bool:
        persons = self._persons.get(campaign_id)
        return persons is None or person in persons

    def knows_all(self, campaign_id: int) -> bool:
        return campaign_id in self._persons

    def learn_person(self, campaign_id: int, person: bytes) -> None:
        persons = self._persons.get(campaign_id)
        if persons is None or person in persons:
            return
        if self._person_count >= self._persons_max:
            self.forget(campaign_id)
            return
        persons.add(person)
        self._person_count += 1

    def rebuild(self, campaign_id: int, persons: Iterable[bytes]) -> None:
        if not self._exclusive:
            return
        self.forget(campaign_id)
        self._persons[campaign_id] = set()
        for person in persons:
            self.learn_person(campaign_id, person)

    def forget(self, campaign_id: int) -> None:
        """Drop what is known of a campaign; safe at any moment, since the ledger is asked from then on."""
        self._person_count -= len(self._persons.pop(campaign_id, ()))
