"""Turns strangers away: a refusal that needs no body and is no claim to the ledger.

Theory of operation.  Of a campaign that has nothing left almost nobody who asks holds anything.  Which pool
they name changes nothing then, so their bodies need not be read, and a batch of them costs three small
questions however many they are: their addresses are counted at the shared gate; the gate says who of them is
known, and up to which claim it knows; the ledger says which claim was its last, and that every pool of the
campaign is empty.  Only where gate and ledger are at the same claim is somebody turned away
(`headgate.services.gated` says why that is certain); everybody else is let in, and asked what they want.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ..ports.gate import GateAway
from ..ports.ledger import ClaimLedger, LedgerUnavailable
from ..ports.shared_gate import SharedGate
from ..ports.strangers import (
    LET_IN,
    TURNED_AWAY,
    UNANSWERED,
    UNCOUNTED,
    Counts,
    Strangers,
    StrangerWriter,
    Turned,
)
from .book import Entry
from .gated import Rest

STRANGERS_MAX = 512
"""Strangers in one question: some milliseconds of the gate's server."""

POOLS_MAX = 64
"""The ledger looks at every pool of the campaign, in less time than the question takes on its way."""

Told = Callable[[int], None]


class Doorkeeper:
    """Belongs to one thread, and shares its gate with a `GatedClaims`."""

    def __init__(
        self, ledger: ClaimLedger, gate: SharedGate, counts: Counts, gate_rest: Rest, clock_s: Callable[[], float]
    ) -> None:
        """`gate_rest` is the one of the `GatedClaims`; `clock_s` never steps (seconds)."""
        self._ledger = ledger
        self._gate = gate
        self._counts = counts
        self._gate_rest = gate_rest
        # A gate that takes no writes can still be read.
        self._counts_rest = Rest(clock_s, "limits_not_counted", "asking the limiter of the worker")
        # Each question to a ledger that hangs would keep the claims behind it waiting once more.
        self._ledger_rest = Rest(clock_s, "strangers_not_looked_up", "asking them to come again")

    def turn_away(self, strangers: Strangers) -> Turned:
        """Raises LedgerError, but for LedgerUnavailable."""
        said = [LET_IN] * len(strangers.persons)
        if strangers.counters:
            if self._counts_rest.resting():
                return Turned([UNCOUNTED] * len(said), 0)
            try:
                said = self._counts.count(strangers.counters, strangers.per_minute)
                self._counts_rest.over()
            except GateAway as error:
                self._counts_rest.begin(error)
                # Perhaps they were, so not again.
                return Turned(said, len(said))
        if LET_IN in said:
            said = self._looked_up(strangers, said)
        return Turned(said, 0)

    def _looked_up(self, strangers: Strangers, said: list[int]) -> list[int]:
        """What is said of those who need not wait, and of them."""
        if self._gate_rest.resting():
            return said
        try:
            seen = self._gate.seen(strangers.campaign_id, strangers.persons)
            self._gate_rest.over()
        except GateAway as error:
            self._gate_rest.begin(error)
            return said
        if self._ledger_rest.resting():
            return [UNANSWERED if wait_ms == LET_IN else wait_ms for wait_ms in said]
        try:
            # After the gate: what was committed before they came is counted here.
            last_seq, remaining = self._ledger.pulse(strangers.pool_ids)
            self._ledger_rest.over()
        except LedgerUnavailable as error:
            self._ledger_rest.begin(error)
            return [UNANSWERED if wait_ms == LET_IN else wait_ms for wait_ms in said]
        if seen.up_to != last_seq or any(remaining.get(pool_id) != 0 for pool_id in strangers.pool_ids):
            return said
        return [
            TURNED_AWAY if wait_ms == LET_IN and not known else wait_ms
            for wait_ms, known in zip(said, seen.known, strict=True)
        ]


class _Lane:
    """Those who wait for one campaign's next question."""

    def __init__(self, campaign_id: int, pool_ids: Iterable[int]) -> None:
        self.campaign_id = campaign_id
        self.pool_ids = list(pool_ids)
        self.persons: list[bytes] = []
        self.counters: list[bytes] = []
        self.waiting: list[Told] = []
        self.under_way = False

    def take(self) -> tuple[list[bytes], list[bytes], list[Told]]:
        """(persons, counters, who waits) of the first STRANGERS_MAX."""
        taken = self.persons[:STRANGERS_MAX], self.counters[:STRANGERS_MAX], self.waiting[:STRANGERS_MAX]
        del self.persons[:STRANGERS_MAX], self.counters[:STRANGERS_MAX], self.waiting[:STRANGERS_MAX]
        return taken


class StrangerDesk:
    """Puts strangers to a doorkeeper in batches: those who come while one is under way go together with the next.

    Owned by one event loop.  The caller bounds how many wait (the admission permits), and raises nothing
    when it is told.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        writer: StrangerWriter,
        counter_of: Callable[[str], bytes],
        per_address_per_minute: int,
        uncounted: Callable[[int], None],
    ) -> None:
        """`counter_of` names an address at the gate; 0 a minute counts none; `uncounted` is told how many were not."""
        self._loop = loop
        self._writer = writer
        self._counter_of = counter_of
        self._per_minute = per_address_per_minute
        self._uncounted = uncounted
        self._lanes: dict[int, _Lane] = {}

    def receives(self, entry: Entry, now_ms: int) -> bool:
        """Whether those who ask this campaign are strangers most likely, and nothing but their address is counted."""
        return entry.has_nothing_left(now_ms) and (
            not entry.limited and not entry.queued and len(entry.pool_ids) <= POOLS_MAX
        )

    def ask(self, entry: Entry, person: bytes, address: str, told: Told) -> None:
        """`told` hears what `Turned` says of them; LET_IN where nobody could say anything."""
        lane = self._lanes.get(entry.campaign.id)
        if lane is None:
            lane = self._lanes[entry.campaign.id] = _Lane(entry.campaign.id, entry.pool_ids.values())
        lane.persons.append(person)
        lane.waiting.append(told)
        if self._per_minute:
            lane.counters.append(self._counter_of(address))
        if not lane.under_way:
            lane.under_way = True
            # At the end of this turn of the loop, so that those who came together go together.
            self._loop.call_soon(self._send, lane)

    def _send(self, lane: _Lane) -> None:
        persons, counters, waiting = lane.take()
        lane.under_way = bool(waiting)
        if waiting:
            asked = Strangers(lane.campaign_id, lane.pool_ids, persons, counters, self._per_minute)
            self._writer.turn_away(asked, partial(self._said, lane, waiting, len(counters)))

    def _said(self, lane: _Lane, waiting: Sequence[Told], counted: int, turned: Turned | Exception) -> None:
        self._send(lane)
        if isinstance(turned, Exception):
            # They are let in, and the claim desk says what has happened to the ledger.
            turned = Turned([LET_IN] * len(waiting), counted)
        if turned.uncounted:
            self._uncounted(turned.uncounted)
        for said, told in zip(turned.said, waiting, strict=True):
            told(said)
