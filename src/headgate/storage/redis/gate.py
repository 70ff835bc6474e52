"""Who has claimed, on Redis or Valkey; see `headgate.ports.shared_gate.SharedGate`.

Each campaign is one hash under a tag of its own, so that a batch is one call to one server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from ...ports.shared_gate import NOWHERE, Seen
from .address import GateAddress
from .client import Door, Script

FOLLOW = Script.named("follow.lua")

KEPT_MS = 86_400_000
"""A day after the last time that somebody followed a campaign, nothing of it is left."""

_PLACE = "seq"


class RedisGate:
    """Owned by one thread."""

    def __init__(self, address: GateAddress, ledger_id: Callable[[], int]) -> None:
        """`ledger_id` tells several ledgers apart that use the same server.

        The ledger is asked for it when it is needed, and what that raises comes out of the call: it may be away
        when a program begins.
        """
        self._door = Door(address)
        self._ledger_id = cache(ledger_id)

    def seen(self, campaign_id: int, persons: Sequence[bytes]) -> Seen:
        fields: list[Any] = [_PLACE, *persons]
        place, *found = self._door.call(lambda client: client.hmget(self._key(campaign_id), fields))
        return Seen(NOWHERE if place is None else int(place), [value is not None for value in found])

    def place(self, campaign_id: int) -> int:
        found = self._door.call(lambda client: client.hget(self._key(campaign_id), _PLACE))
        return NOWHERE if found is None else int(found)

    def follow(self, campaign_id: int, after: int, up_to: int, persons: Sequence[bytes]) -> bool:
        return bool(self._door.run(FOLLOW, self._key(campaign_id), after, up_to, KEPT_MS, *persons))

    def erase(self, campaign_id: int) -> None:
        self._door.call(lambda client: client.unlink(self._key(campaign_id)))

    def close(self) -> None:
        self._door.close()

    def _key(self, campaign_id: int) -> str:
        return f"headgate:{self._ledger_id():x}:{{campaign:{campaign_id}}}:claimants"
