"""Bodies of unknown length: they come in parts, and are bounded in size and in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # public by its documentation only

from headgate.domain.outcome import Outcome, Refusal
from headgate.http.bodies import BAD_LENGTH, BODY_MAX_BYTES, BODY_S, CUT_OFF, TOO_LARGE, TOO_SLOW, Bodies

Part = bytes | BaseException
T = TypeVar("T")


class Body:
    """The server's side of a body in parts.

    `given` counts the parts that were asked for, `coming` is the last of them; `stuck` is set when that will not come.
    """

    def __init__(self, *parts: Part) -> None:
        self._parts = list(parts)
        self.given = 0
        self.coming: asyncio.Future[bytes] | None = None
        self.stuck = asyncio.Event()

    def __call__(self) -> Any:
        pytest.fail("a body of unknown length is never asked for as a whole")

    def __aiter__(self) -> Body:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        if not self._parts:
            raise StopAsyncIteration
        self.given += 1
        self.coming = asyncio.get_running_loop().create_future()
        part = self._parts.pop(0)
        if isinstance(part, Never):
            self.stuck.set()
            return self.coming
        # Not there yet when it is asked for.
        asyncio.get_running_loop().call_soon(_settle, self.coming, part)
        return self.coming


class Never(BaseException):
    """Stands for a part that does not come."""


def _settle(coming: asyncio.Future[bytes], part: Part) -> None:
    if isinstance(part, BaseException):
        coming.set_exception(part)
    else:
        coming.set_result(part)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


def read(body: Body, content_length: str | None = None) -> bytes | Refusal:
    bodies = Bodies()

    async def reading() -> bytes | Refusal:
        return await bodies.read(body, content_length)  # type: ignore[arg-type]  # it gives parts and sends nothing

    try:
        return run(reading())
    finally:
        assert bodies.waiting == {}, "a body that is over is waited for"


@pytest.mark.parametrize(
    "parts", [[], [b""], [b"whole"], [b"in ", b"", b"several", b" parts"], [bytes([n]) for n in range(256)]]
)
def test_parts_are_put_together(parts: list[Part]) -> None:
    assert read(Body(*parts)) == b"".join(part for part in parts if isinstance(part, bytes))


def test_the_largest_body_is_taken_and_one_byte_more_is_not() -> None:
    half = b"x" * (BODY_MAX_BYTES // 2)
    assert read(Body(half, half)) == half + half
    assert read(Body(half, half, b"x")) is TOO_LARGE
    assert read(Body(b"x" * (BODY_MAX_BYTES + 1))) is TOO_LARGE


def test_a_body_without_end_is_not_read_on() -> None:
    body = Body(*[b"x" * 4_096] * 1_000)
    assert read(body) is TOO_LARGE
    assert body.given == BODY_MAX_BYTES // 4_096 + 1


@pytest.mark.parametrize("before", [[], [b"half of a bo"]])
def test_a_body_that_is_cut_off_is_refused_and_not_taken_for_a_whole_one(before: list[Part]) -> None:
    refusal = read(Body(*before, ProtocolClosed()))
    assert refusal is CUT_OFF
    assert (CUT_OFF.outcome, CUT_OFF.reason) == (Outcome.INVALID, "cut_off")


def test_a_fault_of_the_server_is_not_taken_for_an_answer() -> None:
    with pytest.raises(RuntimeError, match="a fault"):
        read(Body(b"half", RuntimeError("a fault")))


@pytest.mark.parametrize("before", [0, 3])
def test_a_body_is_given_up_when_its_time_is_over_and_not_before(before: int) -> None:
    bodies, body = Bodies(), Body(*[b"x"] * before, Never())

    async def slow() -> bytes | Refusal:
        reading = asyncio.ensure_future(bodies.read(body, None))  # type: ignore[arg-type]  # it gives parts
        await body.stuck.wait()
        (started,) = bodies.waiting.values()
        bodies.give_up_overdue(started + BODY_S - 0.001)
        assert body.coming is not None
        assert not body.coming.cancelled(), "its time is not over"
        bodies.give_up_overdue(started + BODY_S + 0.001)
        assert body.coming.cancelled()
        return await reading

    assert run(slow()) is TOO_SLOW
    assert bodies.waiting == {}


def test_parts_that_keep_coming_buy_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every look at the clock finds it three seconds later.
    passing = SimpleNamespace(monotonic=count(1_000.0, 3.0).__next__)
    monkeypatch.setattr("headgate.http.bodies.time", passing)
    bodies, body = Bodies(), Body(b"x", b"x", Never())

    async def dripping() -> bytes | Refusal:
        reading = asyncio.ensure_future(bodies.read(body, None))  # type: ignore[arg-type]  # it gives parts
        await body.stuck.wait()
        bodies.give_up_overdue(1_000.0 + BODY_S + 0.001)
        assert body.coming is not None
        assert body.coming.cancelled()
        return await reading

    assert run(dripping()) is TOO_SLOW


def test_an_older_body_is_given_up_although_a_younger_one_stands_before_it() -> None:
    bodies, older, younger = Bodies(), Body(Never()), Body(Never())

    async def two() -> tuple[bytes | Refusal, bytes | Refusal]:
        readings = []
        for body in (younger, older):
            readings.append(asyncio.ensure_future(bodies.read(body, None)))  # type: ignore[arg-type]  # it gives parts
            await body.stuck.wait()
        # As where the second part of an old body is waited for.
        for coming, began in zip(list(bodies.waiting), (5.0, 1.0), strict=True):
            bodies.waiting[coming] = began
        bodies.give_up_overdue(4.0 + BODY_S)
        assert older.coming is not None
        assert older.coming.cancelled()
        assert younger.coming is not None
        younger.coming.set_result(b"in time")
        return await readings[0], await readings[1]

    assert run(two()) == (b"in time", TOO_SLOW)


@pytest.mark.parametrize("length", ["", "-1", "+5", "1e3", "0x10", " 5", "\uff15", "ten"])
def test_a_length_that_is_no_number_is_refused_unread(length: str) -> None:
    body = Body(b"never read")
    assert read(body, length) is BAD_LENGTH
    assert body.given == 0


@pytest.mark.parametrize("length", [str(BODY_MAX_BYTES + 1), "999999", "9" * 4_000])
def test_a_length_that_is_too_large_is_refused_unread(length: str) -> None:
    body = Body(b"never read")
    assert read(body, length) is TOO_LARGE
    assert body.given == 0


def whole(loop: asyncio.AbstractEventLoop) -> Any:
    """The server's side of a body that is asked for as a whole, once."""
    coming: list[asyncio.Future[bytes]] = [loop.create_future()]
    return coming.pop


def begun(bodies: Bodies, loop: asyncio.AbstractEventLoop) -> Any:
    """A body that nobody waits for."""
    return bodies.begin(whole(loop))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_a_body_that_nobody_waits_for_is_kept_no_longer_than_it_comes(loop: asyncio.AbstractEventLoop) -> None:
    bodies = Bodies()
    come, late, never = (begun(bodies, loop) for _ in range(3))
    come.set_result(b"x")
    for body in (come, late, never):
        bodies.leave(body)
    assert list(bodies._begun) == [late, never], "whoever sends slowly is looked at until it is overdue"
    late.set_result(b"x")
    bodies.give_up_overdue(time.monotonic())
    assert list(bodies._begun) == [never]
    bodies.give_up_overdue(time.monotonic() + BODY_S + 1)
    assert (never.cancelled(), bodies._begun) == (True, {})


def test_a_body_that_was_seen_to_have_come_may_be_left_afterwards(loop: asyncio.AbstractEventLoop) -> None:
    """The look at all of them falls between its coming and the answer."""
    bodies = Bodies()
    come = begun(bodies, loop)
    come.set_result(b"x")
    bodies.give_up_overdue(time.monotonic())
    bodies.leave(come)


def test_a_body_that_is_wanted_after_all_is_not_asked_for_again(loop: asyncio.AbstractEventLoop) -> None:
    bodies, responder = Bodies(), whole(loop)
    coming: Any = bodies.begin(responder)
    told: list[bytes | Refusal] = []
    bodies.expect(responder, lambda arriving: told.append(bodies.taken(arriving)), coming)
    assert (list(bodies._begun), list(bodies.waiting)) == ([], [coming])
    coming.set_result(b"x")
    loop.run_until_complete(asyncio.sleep(0))
    assert (told, bodies.waiting) == ([b"x"], {})
