"""Takes requests in together with their bodies, so that each of them costs one turn of the event loop.

Theory of operation.  The server has a thread that holds the interpreter lock to bring requests to the
event loop, with `call_soon_threadsafe`.  A request that then reads its body goes back to the server and
comes the same way a second time.  Here that thread itself begins to read the body, before the event loop
has heard of the request; and what has arrived waits in one row for one call of the event loop, instead
of a call for each.  Figures: docs/decisions/0013-bodies-come-with-their-requests.md.

The server's own names are needed for it.  Should a version of the server start requests in another way,
they are all served as usual, only slower, and a test fails.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

import structlog

from .bodies import Arriving, Bodies, Responder
from .driving import SERVER

_log = structlog.get_logger("headgate.http")


class Arrival:
    """Whoever waits for a body: called on the event loop with the server's future, once that is done.

    Without `reads_body` it is called with None, and the body has not been touched.  It answers the
    request itself and raises nothing.
    """

    __slots__ = ("reads_body",)

    reads_body: bool

    def __call__(self, arriving: Arriving | None) -> None:
        raise NotImplementedError


Early = Callable[[Any, Responder], Arrival | None]
"""(scope, responder) -> who takes the request, or None for one that is to be served as usual.

It is called on the server's thread, beside the event loop: it may look, and change nothing.
"""


class Intake:
    """One event loop's door; opened by `open_intake`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bodies: Bodies, early: Early) -> None:
        self._bodies = bodies
        self._early = early
        self._call_soon = loop.call_soon_threadsafe
        # One entry at most for each of the server's connections.
        self._arrived: deque[tuple[Arrival, Arriving | None]] = deque()
        self._called = False

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle | None:
        """In place of the event loop's own; None where the server, which keeps no handle, brings a request."""
        if isinstance(callback, Arrival):
            self._put(callback, args[0])
            return None
        if len(args) == 2 and getattr(callback, "__module__", None) == SERVER and self._take(*args):
            return None
        return self._call_soon(callback, *args, context=context)

    def _take(self, coroutine: Any, watcher: Any) -> bool:
        try:
            responder = watcher.proto
            arrival = self._early(watcher.scope, responder)
            if arrival is None:
                return False
            if arrival.reads_body:
                self._bodies.expect(responder, arrival)
            else:
                self._put(arrival, None)
        except Exception:  # noqa: BLE001 -- the server does not look for errors here; the request is served as usual
            _log.exception("intake_failed")
            return False
        coroutine.close()
        return True

    def _put(self, arrival: Arrival, arriving: Arriving | None) -> None:
        self._arrived.append((arrival, arriving))
        if not self._called:
            self._called = True
            self._call_soon(self._hand_out)

    def _hand_out(self) -> None:
        # Before looking: what is put there from now on calls again.
        self._called = False
        for _ in range(len(self._arrived)):
            arrival, arriving = self._arrived.popleft()
            try:
                arrival(arriving)
            except Exception:  # noqa: BLE001 -- those behind it in the row have nobody else to call them
                _log.exception("arrival_failed")


def open_intake(loop: asyncio.AbstractEventLoop, bodies: Bodies, early: Early) -> None:
    """From now on the requests that `early` takes come with their bodies."""
    loop.call_soon_threadsafe = Intake(loop, bodies, early).call_soon_threadsafe  # type: ignore[method-assign,assignment]
