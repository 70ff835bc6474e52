"""Drives the coroutine of a request straight on the event loop, without an `asyncio.Task` for each.

A task costs a turn of the loop before its first step, a registration, a context of its own and another
turn after each wait (figures: docs/decisions/0010-requests-without-tasks.md).  A request needs none of
that: it is never joined, named or cancelled, and it waits for few things.

`asyncio.current_task()` is None inside a request, so `asyncio.timeout` and `asyncio.TaskGroup` do not
work there; deadlines of requests are kept by whoever hands out what they wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any

SERVER = "granian._futures"
"""The module whose coroutines are requests; every other coroutine becomes a task as usual."""


class _Run:
    """One request.  Granian keeps it in place of a task and calls `cancel` when the client hangs up."""

    __slots__ = ("_context", "_coroutine", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], context: Context) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._context = context
        self._step()

    def _step(self, awaited: Any = None) -> None:
        try:
            if awaited is not None:
                try:
                    # As a task asks it: the server's futures say only here that they were cancelled.
                    awaited.result()
                except BaseException as error:  # noqa: BLE001 -- it is thrown into whoever waited
                    awaited = self._coroutine.throw(error)
                else:
                    awaited = self._coroutine.send(None)
            else:
                awaited = self._coroutine.send(None)
        except StopIteration:
            return
        if awaited is None:  # `asyncio.sleep(0)`: only a turn of the loop is asked for.
            self._loop.call_soon(self._step, context=self._context)
        else:
            # How a task tells a future that it has taken notice of it (asyncio.tasks.Task).
            awaited._asyncio_future_blocking = False  # noqa: SLF001 -- the protocol between tasks and futures
            awaited.add_done_callback(self._step, context=self._context)

    def cancel(self) -> bool:
        """No: a claim that is being decided keeps its place until the ledger has answered."""
        return False


def drive_requests(loop: asyncio.AbstractEventLoop) -> None:
    """From now on requests run on `loop` as described above."""
    context = copy_context()

    def start(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        if coroutine.cr_frame.f_globals["__name__"] == SERVER:
            return _Run(loop, coroutine, context)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(start)
