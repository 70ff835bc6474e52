"""One HTTP/1.1 connection of a client that is lean on purpose.

A protocol object and a C parser, so that one process can play some thousand people a second beside the
server that it presses.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import httptools


class Answered(NamedTuple):
    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """`ask` one request at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: asyncio.Future[Answered] | None = None
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport), "a TCP connection can be written to"
        self._transport = transport
        self.open = True

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        answered = Answered(self._parser.get_status_code(), self._body)
        if not self._parser.should_keep_alive():
            self.close()
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answered)

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError(f"the server closed the connection ({exc})"))

    async def ask(self, request: bytes) -> Answered:
        """Raises OSError where no answer comes; then nobody knows what became of the request."""
        assert self._transport is not None, "ask comes after the connection was made"
        if not self.open:
            raise ConnectionError("the server has closed the connection")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.close()
