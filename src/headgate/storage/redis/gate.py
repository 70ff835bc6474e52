"""Who has claimed, on Redis or Valkey; see `headgate.ports.shared_gate.SharedGate`.

Each campaign is one hash under a tag of its own, so that a batch is one call to one server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import redis.exceptions

from ...ports.gate import GateAway
from ...ports.shared_gate import NOWHERE, Seen
from .address import GateAddress
from .client import AWAY, Client, close, connect

FOLLOW = (Path(__file__).parent / "follow.lua").read_text(encoding="utf-8")
FOLLOW_SHA = hashlib.sha1(FOLLOW.encode(), usedforsecurity=False).hexdigest()

KEPT_MS = 86_400_000
"""A day after the last time that somebody followed a campaign, nothing of it is left."""

_PLACE = "seq"

T = TypeVar("T")


class RedisGate:
    """Owned by one thread."""

    def __init__(self, address: GateAddress, ledger_id: Callable[[], int]) -> None:
        """`ledger_id` tells several ledgers apart that use the same server.

        The ledger is asked for it when it is needed, and what that raises comes out of the call: it may be away
        when a program begins.
        """
        self._address = address
        self._ledger_id = cache(ledger_id)
        self._client: Client | None = None

    def seen(self, campaign_id: int, persons: Sequence[bytes]) -> Seen:
        fields: list[Any] = [_PLACE, *persons]
        place, *found = self._call(lambda client: client.hmget(self._key(campaign_id), fields))
        return Seen(NOWHERE if place is None else int(place), [value is not None for value in found])

    def place(self, campaign_id: int) -> int:
        found = self._call(lambda client: client.hget(self._key(campaign_id), _PLACE))
        return NOWHERE if found is None else int(found)

    def follow(self, campaign_id: int, after: int, up_to: int, persons: Sequence[bytes]) -> bool:
        key = self._key(campaign_id)

        def call(client: Client) -> Any:
            try:
                return client.evalsha(FOLLOW_SHA, 1, key, after, up_to, KEPT_MS, *persons)
            except redis.exceptions.NoScriptError:
                return client.eval(FOLLOW, 1, key, after, up_to, KEPT_MS, *persons)

        return bool(self._call(call))

    def erase(self, campaign_id: int) -> None:
        self._call(lambda client: client.unlink(self._key(campaign_id)))

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            close(client)

    def _key(self, campaign_id: int) -> str:
        return f"headgate:{self._ledger_id():x}:{{campaign:{campaign_id}}}:claimants"

    def _call(self, call: Callable[[Client], Any]) -> Any:
        try:
            if self._client is None:
                self._client = connect(self._address)
            return call(self._client)
        except AWAY as error:
            # The next call opens other connections: after a failover they lead somewhere else.
            self.close()
            raise GateAway(f"the gate {self._address} cannot be used: {error}") from error
