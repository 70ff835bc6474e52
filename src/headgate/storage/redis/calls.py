"""Calls to a shared Redis or Valkey that block, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ports.gate import GateAway
from .address import GateAddress
from .client import AWAY, Client, close, connect, look_at


class Calls:
    """Owned by one thread."""

    def __init__(self, address: GateAddress) -> None:
        self._address = address
        self._client: Client | None = None

    def call(self, ask: Callable[[Client], Any]) -> Any:
        """What `ask` gets from the store; raises GateAway."""
        try:
            if self._client is None:
                self._client = connect(self._address)
            look_at(self._client)
            return ask(self._client)
        except AWAY as error:
            # The next call opens other connections: after a failover they lead somewhere else.
            self.close()
            raise GateAway(f"the gate {self._address} cannot be used: {error}") from error

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            close(client)


def campaign_key(ledger_id: int, campaign_id: int, name: str) -> str:
    """A key of a campaign; all of one campaign lie in one slot of a cluster."""
    return f"headgate:{ledger_id:x}:{{campaign:{campaign_id}}}:{name}"
