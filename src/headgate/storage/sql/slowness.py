"""Says which statements are slow, in the log of the process that waited for them.

Their text is shown and not what they were given, which may be about persons.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import structlog

SLOW_S = 0.25
"""A batch of claims takes a tenth of it; what takes longer holds others up, or reads all of a large table."""
EVERY_S = 1.0
"""One line in so long: a ledger that is slow is slow in everything, and a log must not fill the disk that is."""
SHOWN_CHARS = 300

_log = structlog.get_logger("headgate.ledger")


class Slowness:
    """Of one process; any thread may tell."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._said_s = float("-inf")
        self._unsaid = 0

    def tell(self, seconds: float, ledger: str, statement: str) -> None:
        """A statement, or several that were sent together, took so long, waiting for locks included."""
        with self._lock:
            now_s = self._clock_s()
            if now_s - self._said_s < EVERY_S:
                self._unsaid += 1
                return
            self._said_s, unsaid, self._unsaid = now_s, self._unsaid, 0
        text = " ".join(statement.split())
        _log.warning(
            "slow_statement", seconds=round(seconds, 3), ledger=ledger, statement=text[:SHOWN_CHARS], unsaid=unsaid
        )


SLOWNESS = Slowness()
"""What is slow in this process, whichever ledger it is."""


def watch(engine: sa.Engine, ledger: str) -> None:
    """Look how long each of its statements takes, also one that fails; `ledger` is its name in messages.

    Before anybody listens to its errors: whoever says what one means ends its way.
    """

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _before(_connection: Any, _cursor: Any, _statement: str, _given: Any, context: Any, _many: bool) -> None:
        context.headgate_began_s = time.monotonic()

    def _done(context: Any, statement: str) -> None:
        began_s = getattr(context, "headgate_began_s", None)
        seconds = 0.0 if began_s is None else time.monotonic() - began_s
        if seconds >= SLOW_S:
            SLOWNESS.tell(seconds, ledger, statement)

    @sa.event.listens_for(engine, "after_cursor_execute")
    def _after(_connection: Any, _cursor: Any, statement: str, _given: Any, context: Any, _many: bool) -> None:
        _done(context, statement)

    @sa.event.listens_for(engine, "handle_error")
    def _failed(context: sa.engine.ExceptionContext) -> None:
        if context.statement is not None:
            _done(context.execution_context, context.statement)
