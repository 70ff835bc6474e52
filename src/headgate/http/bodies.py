"""Request bodies: bounded in size before they are read, and in the time that they may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from typing import Any, Protocol

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # public by its documentation only

from ..domain.outcome import Outcome, Refusal
from .problem import Headers

BODY_MAX_BYTES = 16_384
"""A claim is some hundred bytes; with signals it stays below this."""

BODY_S = 10
"""What a body of that size may take on a bad mobile connection."""

TOO_LARGE = Refusal(Outcome.INVALID, f"The body is larger than {BODY_MAX_BYTES} bytes.", reason="too_large")
TOO_SLOW = Refusal(
    Outcome.INVALID, f"The body did not arrive within {BODY_S} seconds; please try again.", reason="too_slow"
)
CUT_OFF = Refusal(Outcome.INVALID, "The body ended before it was whole.", reason="cut_off")
BAD_LENGTH = Refusal(Outcome.INVALID, "Content-Length is not a number.")


class Arriving(Protocol):
    """The server's future of a body or of a part of it."""

    def __await__(self) -> Generator[Any, None, bytes]: ...

    def add_done_callback(self, callback: Callable[[Arriving], object], *, context: Context | None = None) -> None: ...

    def result(self) -> bytes: ...

    def cancel(self) -> bool: ...

    def done(self) -> bool: ...


class Responder(Protocol):
    """What the server hands over (RSGI protocol): a call gives the whole body, iterating gives parts."""

    def __call__(self) -> Arriving: ...

    def __aiter__(self) -> Responder: ...

    def __anext__(self) -> Arriving: ...

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...


class Bodies:
    """Reads the bodies of one event loop's requests, bounded in size and in time.

    `waiting` holds what is waited for, and since when its body is (s, monotonic): parts of bodies that the
    server has not got yet.  Giving one up makes its reader get TOO_SLOW.
    """

    def __init__(self) -> None:
        self.waiting: dict[Arriving, float] = {}
        # Bodies that nobody waits for, and since when they are read.
        self._begun: dict[Arriving, float] = {}
        # One for all: nothing that happens when a body has come reads a context of its own.
        self._context = copy_context()

    async def read(self, responder: Responder, content_length: str | None) -> bytes | Refusal:
        """The body, or why it is refused; never holds more than BODY_MAX_BYTES and one part."""
        started = time.monotonic()
        if content_length is None:
            return await self._parts(responder, started)
        if not (content_length.isascii() and content_length.isdigit()):
            return BAD_LENGTH
        if len(content_length) > 6 or int(content_length) > BODY_MAX_BYTES:
            return TOO_LARGE
        return await self._arrival(responder(), started)

    async def _parts(self, responder: Responder, started: float) -> bytes | Refusal:
        parts = bytearray()
        iterator = aiter(responder)
        while True:
            try:
                part = await self._arrival(anext(iterator), started)
            except StopAsyncIteration:
                return bytes(parts)
            if isinstance(part, Refusal):
                return part
            parts += part
            if len(parts) > BODY_MAX_BYTES:
                return TOO_LARGE

    def begin(self, responder: Responder) -> Arriving:
        """Begin to read the body of a request that will most likely be answered without it.

        The server goes on with the next request of the connection where this one's body has come, and closes the
        connection where it was left lying there.
        """
        arriving = responder()
        self._begun[arriving] = time.monotonic()
        return arriving

    def leave(self, begun: Arriving) -> None:
        """The request has been answered without it."""
        if begun.done():
            # Nothing of it is kept, unless that was seen before; what is still coming is looked at now and then.
            self._begun.pop(begun, None)

    def expect(
        self, responder: Responder, arrival: Callable[[Arriving], object], begun: Arriving | None = None
    ) -> None:
        """Begin to read the body, if that has not `begun`; `arrival` is called on the event loop and has to ask `taken`
        what came.
        """
        arriving = responder() if begun is None else begun
        self._begun.pop(arriving, None)
        self.waiting[arriving] = time.monotonic()
        arriving.add_done_callback(arrival, context=self._context)

    def taken(self, arriving: Arriving) -> bytes | Refusal:
        """What came of a body that was expected."""
        del self.waiting[arriving]
        try:
            return arriving.result()
        except asyncio.CancelledError:
            return TOO_SLOW
        except ProtocolClosed:
            return CUT_OFF

    async def _arrival(self, arriving: Arriving, started: float) -> bytes | Refusal:
        self.waiting[arriving] = started
        try:
            return await arriving
        except asyncio.CancelledError:
            return TOO_SLOW
        except ProtocolClosed:
            return CUT_OFF
        finally:
            del self.waiting[arriving]

    def give_up_overdue(self, now_s: float) -> None:
        """Give up every body that has not come within BODY_S; the server then closes the connection."""
        # A copy, made in one step, because the server's thread adds to it (`headgate.http.intake`).
        for arriving, since in list(self.waiting.items()):
            if now_s - since > BODY_S:
                arriving.cancel()
        for arriving, since in list(self._begun.items()):
            if now_s - since > BODY_S:
                arriving.cancel()
            if arriving.done():
                del self._begun[arriving]


def media_type(content_type: str | None) -> str:
    """The media type without parameters, in lower case; empty where there is none."""
    return (content_type or "").partition(";")[0].strip().lower()
