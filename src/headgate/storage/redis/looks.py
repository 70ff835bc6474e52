"""Shared looks on Redis or Valkey; see `headgate.ports.looks.SharedLooks`.

All of a ledger lies under one tag.  Programs of different versions show each other nothing: one may not know what
the other has written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec

from ...domain.campaign import Campaign
from ...ports.entropy import Entropy
from ...ports.ledger import PoolStock
from ...ports.looks import Asked, Head, Parts
from .address import GateAddress
from .calls import Calls
from .scripts import Script

FRESH_S = 0.2
"""A look is shared so long before somebody looks again; less than workers wait between two."""
SHOWN_S = 0.5
"""What a look found is shown so long; where nobody looked again, each looks by itself.  With the time between two looks
of a worker it stays under a second."""
TURN_S = 1.0
"""A look takes milliseconds; whoever takes longer is passed over."""
KEPT_MS = 3_600_000
"""An hour after the last look nothing of it is left."""

_ASK, _POST = Script("look_ask"), Script("look_post")
_FRESH_UNTIL_MS = round((SHOWN_S - FRESH_S) * 1000)

_encode = msgspec.msgpack.encode
_head = msgspec.msgpack.Decoder(Head).decode
_campaign = msgspec.msgpack.Decoder(Campaign).decode
_stock = msgspec.msgpack.Decoder(list[PoolStock]).decode


class RedisLooks:
    """Owned by one thread."""

    def __init__(self, address: GateAddress, ledger_id: Callable[[], int], entropy: Entropy, program: str) -> None:
        """`ledger_id` as for `RedisGate`; `program` is the same for those who understand each other."""
        self._calls = Calls(address)
        self._ledger_id = cache(ledger_id)
        self._token = entropy.token_bytes(16)
        self._program = program

    def ask(self) -> Asked:
        keys, given = [self._key("head"), self._key("turn")], [_FRESH_UNTIL_MS, self._token, round(TURN_S * 1000)]
        head, turn = self._calls.call(lambda client: _ASK.run(client, keys, given))
        return Asked(_head(head) if head else None, bool(turn))

    def fetch(self, campaign_ids: Sequence[int], stock_of: Sequence[int]) -> Parts | None:
        names = [*map(_name_of_campaign, campaign_ids), *map(_name_of_stock, stock_of)]
        if not names:
            return Parts([], {})
        key = self._key("parts")
        found = self._calls.call(lambda client: client.hmget(key, names))
        if None in found:
            # Evicted, for example.  Without its head the next look shows all parts again.
            head = self._key("head")
            self._calls.call(lambda client: client.unlink(head))
            return None
        campaigns, stock = found[: len(campaign_ids)], found[len(campaign_ids) :]
        return Parts([*map(_campaign, campaigns)], dict(zip(stock_of, map(_stock, stock), strict=True)))

    def post(self, head: Head, parts: Parts, age_s: float) -> bool:
        shown_ms = round((SHOWN_S - age_s) * 1000)
        if shown_ms <= 0:
            return False
        keys = [self._key("head"), self._key("turn"), self._key("parts")]
        given: list[Any] = [self._token, _encode(head), shown_ms, KEPT_MS]
        for campaign in parts.campaigns:
            given += [_name_of_campaign(campaign.id), _encode(campaign)]
        for campaign_id, stock in parts.stock.items():
            given += [_name_of_stock(campaign_id), _encode(stock)]
        return bool(self._calls.call(lambda client: _POST.run(client, keys, given)))

    def close(self) -> None:
        self._calls.close()

    def _key(self, name: str) -> str:
        return f"headgate:{{looks:{self._ledger_id():x}}}:{self._program}:{name}"


def _name_of_campaign(campaign_id: int) -> str:
    return f"campaign:{campaign_id}"


def _name_of_stock(campaign_id: int) -> str:
    return f"stock:{campaign_id}"
