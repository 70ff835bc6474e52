"""Who has claimed, on Redis or Valkey; see `headgate.ports.shared_gate.SharedGate`.

Each campaign is one hash under a tag of its own, so that a batch is one call to one server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from ...ports.shared_gate import NOWHERE, Seen
from .address import GateAddress
from .calls import Calls, campaign_key
from .scripts import Script

KEPT_MS = 86_400_000
"""A day after the last time that somebody followed a campaign, nothing of it is left."""

_PLACE = "seq"
_FOLLOW = Script("follow")


class RedisGate:
    """Owned by one thread."""

    def __init__(self, address: GateAddress, ledger_id: Callable[[], int]) -> None:
        """`ledger_id` tells several ledgers apart that use the same server.

        The ledger is asked for it when it is needed, and what that raises comes out of the call: it may be away
        when a program begins.
        """
        self._calls = Calls(address)
        self._ledger_id = cache(ledger_id)

    def seen(self, campaign_id: int, persons: Sequence[bytes]) -> Seen:
        # Not by the client's method of that name, which looks at its arguments longer than the call takes.
        asked = ("HMGET", self._key(campaign_id), _PLACE, *persons)
        place, *found = self._calls.call(lambda client: client.execute_command(*asked))  # type: ignore[no-untyped-call]
        return Seen(NOWHERE if place is None else int(place), [value is not None for value in found])

    def place(self, campaign_id: int) -> int:
        key = self._key(campaign_id)
        found = self._calls.call(lambda client: client.hget(key, _PLACE))
        return NOWHERE if found is None else int(found)

    def follow(self, campaign_id: int, after: int, up_to: int, persons: Sequence[bytes]) -> bool:
        keys = [self._key(campaign_id)]
        return bool(self._calls.call(lambda client: _FOLLOW.run(client, keys, [after, up_to, KEPT_MS, *persons])))

    def erase(self, campaign_id: int) -> None:
        key = self._key(campaign_id)
        self._calls.call(lambda client: client.unlink(key))

    def close(self) -> None:
        self._calls.close()

    def _key(self, campaign_id: int) -> str:
        return campaign_key(self._ledger_id(), campaign_id, "claimants")
