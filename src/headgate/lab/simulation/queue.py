"""A queue that forgets, falls back and goes away on purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import msgspec

from ...domain.claim import QUEUED, ClaimRequest, Granted
from ...domain.outcome import KEY_REUSED, QUEUE_UNAVAILABLE, Refusal
from ...ports.entropy import Entropy
from ...ports.gate import GateAway
from ...ports.queue import Enqueued, QueueState, Taken, Waiting, Which

ABANDONED_S = 5.0

_KEY_BYTES = 16

Person = tuple[int, bytes]
"""(campaign id, person)"""


class _Entry(msgspec.Struct):
    waiting: Waiting
    put_at: float
    taken_by: str = ""
    taken_at: float = 0.0


class _Contents(msgspec.Struct):
    """`marks` lead from a person's requests to their entries; `refusals` are what was decided last."""

    entries: dict[int, _Entry] = {}
    marks: dict[Person, dict[bytes, int]] = {}
    refusals: dict[Person, QueueState] = {}


class SimulatedQueue:
    """See `headgate.ports.queue`: the end of those who ask; it is held to the same suite as a real server."""

    def __init__(self, clock_s: Callable[[], float], entropy: Entropy) -> None:
        self.away = False
        self.clock_s = clock_s
        self.contents = _Contents()
        self._entropy = entropy
        self._replica = _Contents()
        # Never the same again, whatever is lost.
        self._last = 0

    def put(self, request: ClaimRequest) -> Enqueued:
        if self.away:
            return QUEUE_UNAVAILABLE
        key, body = request.key_digest, request.body_digest
        keyed = key is not None and body is not None
        mark = b"k" + (key or b"") if keyed else b"p%d" % request.pool_id
        if not keyed:
            key, body = self._entropy.token_bytes(_KEY_BYTES), bytes(_KEY_BYTES)
        person = (request.campaign_id, request.person)
        known = self.contents.entries.get(self.contents.marks.get(person, {}).get(mark, 0))
        if known is not None:
            return QUEUED if known.waiting.request.body_digest == body else KEY_REUSED
        self._last += 1
        named = ClaimRequest(request.campaign_id, request.pool_id, request.person, key, body)
        waiting = Waiting(b"%d" % self._last, mark, named)
        self.contents.entries[self._last] = _Entry(waiting, self.clock_s())
        self.contents.marks.setdefault(person, {})[mark] = self._last
        self.contents.refusals.pop(person, None)
        return QUEUED

    async def state_of(self, campaign_id: int, person: bytes) -> QueueState:
        if self.away:
            return QueueState(None)
        marks = self.contents.marks.get((campaign_id, person), {})
        if any(place in self.contents.entries for place in marks.values()):
            return QueueState(True)
        return self.contents.refusals.get((campaign_id, person), QueueState(False))

    def consumer(self, name: str) -> SimulatedConsumer:
        return SimulatedConsumer(self, name)

    def flush(self) -> None:
        """As by an operator, or a restart without anything on disk."""
        self.contents = _Contents()

    def replicate(self) -> None:
        """Its replica has got everything up to now."""
        self._replica = copy.deepcopy(self.contents)

    def fail_over(self) -> None:
        """The replica takes over; what it had not got is lost, and what was settled since waits again."""
        self.contents = copy.deepcopy(self._replica)


class SimulatedConsumer:
    """The end of those who decide."""

    def __init__(self, queue: SimulatedQueue, name: str) -> None:
        self._queue = queue
        self._name = name

    def take(self, campaign_id: int, which: Which, limit: int) -> Taken:
        self._answer()
        now = self._queue.clock_s()
        entries = self._entries(campaign_id)
        chosen = [entry for entry in entries if self._may_have(entry, which, now)][:limit]
        for entry in chosen:
            entry.taken_by, entry.taken_at = self._name, now
        age_s = now - entries[0].put_at if entries else 0.0
        return Taken([entry.waiting for entry in chosen], len(entries), age_s)

    def _may_have(self, entry: _Entry, which: Which, now: float) -> bool:
        if which is Which.NEW:
            return not entry.taken_by
        if which is Which.OWN:
            return entry.taken_by == self._name
        return bool(entry.taken_by) and now - entry.taken_at >= ABANDONED_S

    def settle(self, campaign_id: int, decided: Sequence[tuple[Waiting, Granted | Refusal]]) -> None:
        self._answer()
        contents = self._queue.contents
        for waiting, decision in decided:
            person, place = (campaign_id, waiting.request.person), int(waiting.place)
            marks = contents.marks.get(person, {})
            waited = marks.get(waiting.mark) == place
            if waited:
                del marks[waiting.mark]
            if isinstance(decision, Granted):
                contents.refusals.pop(person, None)
            elif waited:
                contents.refusals[person] = QueueState(
                    False, decision.outcome, decision.reason or "", waiting.request.pool_id
                )
            contents.entries.pop(place, None)

    def close(self) -> None: ...

    def _entries(self, campaign_id: int) -> list[_Entry]:
        entries = self._queue.contents.entries.values()
        return [entry for entry in entries if entry.waiting.request.campaign_id == campaign_id]

    def _answer(self) -> None:
        if self._queue.away:
            raise GateAway("injected")
