"""A result to come, for the one request that waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Pending(Generic[Result]):
    """It speaks the protocol of `asyncio.Future` with whoever drives that request, and wakes it at once
    instead of on a later turn of the loop: a rush makes one of these for every claim.
    """

    __slots__ = ("_asyncio_future_blocking", "_loop", "_result", "_wake")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._result: Result | None = None
        self._wake: Callable[[Pending[Result]], object] | None = None
        self._asyncio_future_blocking = False

    def __await__(self) -> Generator[Pending[Result], None, Result]:
        if self._result is None:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def add_done_callback(self, wake: Callable[[Pending[Result]], object], *, context: Context | None = None) -> None:  # noqa: ARG002 -- the protocol
        """`context` is not entered: nothing that a request does after its result reads one."""
        self._wake = wake

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def result(self) -> Result:
        result = self._result
        assert result is not None, "nobody is woken before there is a result"
        return result

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 -- the protocol
        """No: whoever hung up is still in the batch, so the request keeps its place until it is decided."""
        return False

    def settle(self, result: Result) -> None:
        self._result = result
        if self._wake is not None:
            self._wake(self)
