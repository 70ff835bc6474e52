"""Events on a Redis or Valkey stream; see `headgate.ports.destination.Destination`.

An entry's id is the event's position, and the server takes none that is not above the last one.  So the stream
itself says how far it has come, also after it was erased, or its replica took over without the last entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import redis.exceptions

from ...domain.event import BEGINNING, Event, Position
from ...ports.destination import NotDelivered, Place
from ...ports.gate import GateAway
from ...services.event_documents import document
from .address import GateAddress
from .calls import Calls
from .client import Client
from .scripts import Script

KEY = "headgate:{events}"
"""Of the ledger that is alone, or the first of several."""

EVENTS_MAX = 250_000
"""What the stream keeps, some 60 MB; whoever reads it may be that far behind."""

PAGE = 250
"""Events in one call: less than a millisecond of the server, which does nothing else meanwhile."""

APPEND = Script("append")


def key_of_shard(name: str) -> str:
    """Positions are those of one ledger, so each has a stream of its own."""
    return f"headgate:{{events:{name}}}"


class RedisStream:
    """Owned by one thread."""

    name = "stream"
    page = PAGE

    def __init__(self, address: GateAddress, key: str = KEY) -> None:
        self._calls = Calls(address)
        self._key = key

    def place(self) -> Place:
        info = self._ask(self._info)
        if info is None:
            return Place(BEGINNING, "")
        position = _position(info["last-generated-id"])
        last = info["last-entry"]
        if last is None or _position(last[0]) != position:
            # It was removed by somebody.
            return Place(position, "")
        return Place(position, _event_id(last[1]))

    def deliver(self, after: Position, events: Sequence[Event]) -> bool:
        arguments: list[Any] = []
        for event in events:
            arguments += [str(event.position), msgspec.json.encode(document(event))]
        given = [str(after), EVENTS_MAX, *arguments]
        return bool(self._ask(lambda client: APPEND.run(client, [self._key], given)))

    def reach(self) -> None:
        self.place()

    def close(self) -> None:
        self._calls.close()

    def _ask(self, question: Any) -> Any:
        try:
            return self._calls.call(question)
        except GateAway as error:
            raise NotDelivered(str(error)) from error

    def _info(self, client: Client) -> Any:
        try:
            return client.xinfo_stream(self._key)
        except redis.exceptions.ResponseError as error:
            if "no such key" in str(error):
                return None
            raise


def _position(entry_id: bytes) -> Position:
    return Position(*map(int, entry_id.split(b"-")))


def _event_id(fields: dict[bytes, bytes]) -> str:
    """Empty where the entry is none of ours."""
    try:
        return str(msgspec.json.decode(fields.get(b"event", b""))["id"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return ""
