"""Requests run without tasks, and everything else with them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

from granian._futures import _future_watcher_wrapper  # what the server starts requests with

Loop = asyncio.AbstractEventLoop


class Watcher:
    """What the server hands to a request's coroutine."""

    def __init__(self) -> None:
        self.scope, self.proto = SimpleNamespace(), SimpleNamespace()
        self.said: list[str] = []

    def done(self) -> None:
        self.said.append("done")

    def err(self, error: BaseException) -> None:
        self.said.append(repr(error))


def request_of(application: Any) -> tuple[Watcher, Coroutine[Any, Any, None]]:
    watcher = Watcher()
    return watcher, _future_watcher_wrapper(application)(watcher)  # type: ignore[no-untyped-call]  # untyped there


def test_a_request_that_waits_for_nothing_is_over_when_it_has_begun(loop: Loop) -> None:
    async def application(_scope: Any, _protocol: Any) -> None: ...

    watcher, coroutine = request_of(application)

    async def main() -> None:
        run: Any = loop.create_task(coroutine)
        assert not isinstance(run, asyncio.Task), "this version of the server starts requests in another way"
        assert watcher.said == ["done"]
        assert run.cancel() is False

    loop.run_until_complete(main())


def test_a_request_goes_on_when_what_it_waits_for_is_there(loop: Loop) -> None:
    seen = []
    first, second = loop.create_future(), loop.create_future()

    async def application(_scope: Any, _protocol: Any) -> None:
        seen.append(await first)
        await asyncio.sleep(0)
        try:
            await second
        except OSError as error:
            seen.append(error)

    watcher, coroutine = request_of(application)

    async def main() -> None:
        loop.create_task(coroutine)
        first.set_result("body")
        for _ in range(3):
            await asyncio.sleep(0)
        assert seen == ["body"]
        second.set_exception(OSError(5, "gone"))
        for _ in range(3):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert repr(seen) == "['body', OSError(5, 'gone')]"
    assert watcher.said == ["done"]


def test_a_request_hears_that_what_it_waits_for_was_cancelled(loop: Loop) -> None:
    coming = loop.create_future()

    async def application(_scope: Any, _protocol: Any) -> None:
        try:
            await coming
        except asyncio.CancelledError:
            watcher.said.append("given up")

    watcher, coroutine = request_of(application)

    async def main() -> None:
        loop.create_task(coroutine)
        coming.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert watcher.said == ["given up", "done"]


def test_a_request_that_fails_tells_the_server(loop: Loop) -> None:
    async def application(_scope: Any, _protocol: Any) -> None:
        raise ValueError("no")

    watcher, coroutine = request_of(application)

    async def main() -> None:
        loop.create_task(coroutine)

    loop.run_until_complete(main())
    assert watcher.said == ["ValueError('no')"]


def test_other_coroutines_are_tasks_as_usual(loop: Loop) -> None:
    async def other() -> str:
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return "done"

    async def main() -> None:
        task = loop.create_task(other(), name="other")
        assert isinstance(task, asyncio.Task)
        assert task.get_name() == "other"
        assert await task == "done"

    loop.run_until_complete(main())
