"""Shared looks that are erased, fall back and go away on purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import msgspec

from ...domain.campaign import Campaign
from ...ports.gate import GateAway
from ...ports.ledger import PoolStock
from ...ports.looks import Asked, Head, Parts

FRESH_S = 0.2
SHOWN_S = 0.5
TURN_S = 1.0


class _Contents(msgspec.Struct):
    head: Head | None = None
    shown_from_s: float = 0.0
    turn: object = None
    turn_until_s: float = 0.0
    campaigns: dict[int, Campaign] = {}
    stock: dict[int, list[PoolStock]] = {}


class SimulatedStore:
    """Where looks are shared; `looks` is one worker's way to it."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self.away = False
        self.clock_s = clock_s
        self.contents = _Contents()
        self._replica = _Contents()

    def looks(self) -> SimulatedLooks:
        return SimulatedLooks(self)

    def flush(self) -> None:
        self.contents = _Contents()

    def replicate(self) -> None:
        """Its replica has got everything up to now."""
        self._replica = copy.copy(self.contents)
        self._replica.campaigns, self._replica.stock = dict(self.contents.campaigns), dict(self.contents.stock)

    def fail_over(self) -> None:
        """The replica takes over; what it had not got is lost."""
        self.contents = self._replica
        self.replicate()


class SimulatedLooks:
    """See `headgate.ports.looks.SharedLooks`; it is held to the same suite as a real server."""

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store
        self._token = object()

    def ask(self) -> Asked:
        contents, now = self._contents(), self._store.clock_s()
        if contents.head is not None and now >= contents.shown_from_s + SHOWN_S:
            contents.head = None
        fresh = contents.head is not None and now < contents.shown_from_s + FRESH_S
        turn = not fresh and now >= contents.turn_until_s
        if turn:
            contents.turn, contents.turn_until_s = self._token, now + TURN_S
        return Asked(contents.head, turn)

    def fetch(self, campaign_ids: Sequence[int], stock_of: Sequence[int]) -> Parts | None:
        contents = self._contents()
        if not (contents.campaigns.keys() >= set(campaign_ids) and contents.stock.keys() >= set(stock_of)):
            contents.head = None
            return None
        return Parts(
            [contents.campaigns[each] for each in campaign_ids], {each: contents.stock[each] for each in stock_of}
        )

    def post(self, head: Head, parts: Parts, age_s: float) -> bool:
        contents, now = self._contents(), self._store.clock_s()
        if contents.turn is not self._token or now >= contents.turn_until_s or age_s >= SHOWN_S:
            return False
        contents.campaigns |= {campaign.id: campaign for campaign in parts.campaigns}
        contents.stock |= parts.stock
        contents.head, contents.shown_from_s = head, now - age_s
        contents.turn, contents.turn_until_s = None, 0.0
        return True

    def close(self) -> None: ...

    def _contents(self) -> _Contents:
        if self._store.away:
            raise GateAway("injected")
        return self._store.contents
