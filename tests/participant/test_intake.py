"""Requests that come with their bodies, started as the server starts them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from granian._futures import _cbsched_aioschedule, _future_watcher_wrapper  # what the server starts requests with

from headgate.http.bodies import BODY_S, TOO_SLOW, Arriving, Bodies
from headgate.http.intake import Arrival, open_intake

Loop = asyncio.AbstractEventLoop


class Body:
    """The server's future: it calls back with the event loop's `call_soon_threadsafe`, from a thread of its own."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._outcome: bytes | BaseException = b""
        self._callback: Callable[[Any], object] | None = None

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Any = None) -> None:
        self._callback = callback

    def result(self) -> bytes:
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def cancel(self) -> bool:
        self._outcome = asyncio.CancelledError()
        self._loop.call_soon(self._callback, self)  # type: ignore[arg-type]  # there is one
        return True

    def comes(self, content: bytes) -> None:
        self._outcome = content
        self._loop.call_soon_threadsafe(self._callback, self)  # type: ignore[arg-type]  # there is one


class Taken(Arrival):
    def __init__(self, rig: Rig, *, reads_body: bool) -> None:
        self._rig = rig
        self.reads_body = reads_body

    def __call__(self, arriving: Arriving | None) -> None:
        assert threading.get_ident() == self._rig.loop_thread, "everything but looking belongs to the event loop"
        self._rig.seen.append(None if arriving is None else self._rig.bodies.taken(arriving))


class Rig:
    """An event loop with an intake; `bring` is what the server does for each request."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.loop_thread = threading.get_ident()
        self.bodies = Bodies()
        self.seen: list[Any] = []
        self.begun: list[Body] = []
        self.turns = 0
        plain = loop.call_soon_threadsafe

        def counted(*args: Any, **options: Any) -> Any:
            self.turns += 1
            return plain(*args, **options)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign,assignment]
        open_intake(loop, self.bodies, self._early)
        self._schedule = _cbsched_aioschedule(  # type: ignore[no-untyped-call]  # untyped there
            loop,
            contextvars.copy_context(),
            _future_watcher_wrapper(self._application),  # type: ignore[no-untyped-call]  # untyped there
        )

    def _early(self, scope: Any, _responder: Any) -> Taken | None:
        if scope.path == "/faulty":
            raise ValueError("a fault while looking")
        return {
            "/claims": Taken(self, reads_body=True),
            "/refused": Taken(self, reads_body=False),
        }.get(scope.path)

    async def _application(self, scope: Any, _responder: Any) -> None:
        self.seen.append(f"as usual: {scope.path}")

    def _read(self) -> Body:
        self.begun.append(Body(self.loop))
        return self.begun[-1]

    def bring(self, *paths: str) -> None:
        for path in paths:
            watcher = SimpleNamespace(
                scope=SimpleNamespace(path=path), proto=self._read, done=lambda: None, err=self.seen.append,
                taskref=lambda _run: None,
            )  # fmt: skip
            self._schedule(watcher)

    def on_the_servers_thread(self, *work: Callable[[], object]) -> None:
        """Do `work` in a thread and let the event loop turn until nothing is left to do."""

        def run() -> None:
            for job in work:
                job()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))


def test_a_request_is_seen_when_its_body_is_there_and_not_before(loop: Loop) -> None:
    rig = Rig(loop)
    rig.on_the_servers_thread(lambda: rig.bring("/claims"))
    assert (rig.seen, rig.turns) == ([], 0)
    assert len(rig.bodies.waiting) == 1
    rig.on_the_servers_thread(lambda: rig.begun[0].comes(b"whole"))
    assert rig.seen == [b"whole"]
    assert not rig.bodies.waiting


def test_what_arrives_together_costs_one_call_of_the_event_loop(loop: Loop) -> None:
    rig = Rig(loop)
    bodies = [b"1", b"2", b"3"]

    def all_come() -> None:
        for body, content in zip(rig.begun, bodies, strict=True):
            body.comes(content)

    rig.on_the_servers_thread(
        lambda: rig.bring("/claims", "/claims", "/claims"), all_come, lambda: rig.bring("/refused")
    )
    assert rig.seen == [*bodies, None]
    assert rig.turns == 1
    # The row is empty, so the next to come has to call again.
    rig.on_the_servers_thread(lambda: rig.bring("/refused"))
    assert rig.seen == [*bodies, None, None]
    assert rig.turns == 2


def test_a_body_that_is_not_wanted_is_not_touched(loop: Loop) -> None:
    rig = Rig(loop)
    rig.on_the_servers_thread(lambda: rig.bring("/refused"))
    assert (rig.seen, rig.begun) == ([None], [])


def test_other_requests_and_those_that_could_not_be_looked_at_are_served_as_usual(loop: Loop) -> None:
    rig = Rig(loop)
    rig.on_the_servers_thread(lambda: rig.bring("/page", "/faulty"))
    assert rig.seen == ["as usual: /page", "as usual: /faulty"]
    assert rig.turns == 2


def test_a_body_that_does_not_come_is_given_up(loop: Loop) -> None:
    rig = Rig(loop)
    rig.on_the_servers_thread(lambda: rig.bring("/claims", "/claims"))
    first, _ = since = list(rig.bodies.waiting.values())
    rig.bodies.waiting[next(reversed(rig.bodies.waiting))] = first + 1
    rig.bodies.give_up_overdue(first + BODY_S + 0.5)
    rig.on_the_servers_thread()
    assert rig.seen == [TOO_SLOW]
    assert len(since) - len(rig.bodies.waiting) == 1


def test_calls_that_bring_no_request_reach_the_event_loop(loop: Loop) -> None:
    rig = Rig(loop)
    rig.on_the_servers_thread(lambda: loop.call_soon_threadsafe(rig.seen.append, "called"))
    assert rig.seen == ["called"]


def test_bodies_may_begin_while_others_are_given_up() -> None:
    bodies = Bodies()

    class Slow:
        def cancel(self) -> bool:
            # What the server's thread may do at any moment.
            bodies.waiting[Slow()] = BODY_S * 3.0  # type: ignore[index]  # only what is asked of it here
            given_up.append(self)
            return True

    given_up: list[Slow] = []
    for _ in range(2):
        bodies.waiting[Slow()] = 0.0  # type: ignore[index]  # as above
    bodies.give_up_overdue(BODY_S * 3.0)
    assert len(given_up) == 2
    assert len(bodies.waiting) == 4
