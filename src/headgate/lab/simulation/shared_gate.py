"""A shared gate that forgets, falls back and goes away on purpose."""

from __future__ import annotations

from collections.abc import Sequence

from ...ports.gate import GateAway
from ...ports.shared_gate import NOWHERE, Seen


class SimulatedGate:
    """See `headgate.ports.shared_gate.SharedGate`; it is held to the same suite as a real server."""

    def __init__(self) -> None:
        self.away = False
        self._followed: dict[int, tuple[int, frozenset[bytes]]] = {}
        self._replica: dict[int, tuple[int, frozenset[bytes]]] = {}

    def seen(self, campaign_id: int, persons: Sequence[bytes]) -> Seen:
        self._answer()
        place, known = self._followed.get(campaign_id, (NOWHERE, frozenset()))
        return Seen(place, [person in known for person in persons])

    def place(self, campaign_id: int) -> int:
        return self.seen(campaign_id, ()).up_to

    def follow(self, campaign_id: int, after: int, up_to: int, persons: Sequence[bytes]) -> bool:
        self._answer()
        place, known = self._followed.get(campaign_id, (NOWHERE, frozenset()))
        if place != after:
            return False
        self._followed[campaign_id] = (up_to, known | frozenset(persons))
        return True

    def erase(self, campaign_id: int) -> None:
        self._answer()
        self._followed.pop(campaign_id, None)

    def flush(self) -> None:
        """As by an operator, or a restart without anything on disk."""
        self._followed.clear()

    def replicate(self) -> None:
        """Its replica has got everything up to now."""
        self._replica = dict(self._followed)

    def fail_over(self) -> None:
        """The replica takes over; what it had not got is lost."""
        self._followed = dict(self._replica)

    def _answer(self) -> None:
        if self.away:
            raise GateAway("injected")
