"""What every limiter promises, in memory and on a gate that nodes share."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headgate.ports.limiter import ADDRESSES, WINDOW_S, Limit, Limiter
from headgate.ports.pending import Pending
from headgate.storage.memory.limiter import MappedLimiter
from headgate.storage.redis.limiter import RedisLimiter

KEY = b"k" * 32


class Nodes:
    """Several programs that count together; `asked` asks one after the other, `rush` all at once."""

    def __init__(self, make: Callable[[asyncio.AbstractEventLoop], Limiter], count: int = 1) -> None:
        self._loop = asyncio.new_event_loop()
        self._limiters = [make(self._loop) for _ in range(count)]
        self._next = 0

    def ask(self, group: str, *limits: Limit) -> float:
        return self.rush([(group, limits)])[0]

    def rush(self, asked: Sequence[tuple[str, tuple[Limit, ...]]]) -> list[float]:
        return self._loop.run_until_complete(self._rush(asked))

    async def _rush(self, asked: Sequence[tuple[str, tuple[Limit, ...]]]) -> list[float]:
        waiting = []
        for group, limits in asked:
            waiting.append(self._limiters[self._next].wait_s(group, limits))
            self._next = (self._next + 1) % len(self._limiters)
        return [await wait if isinstance(wait, Pending) else wait for wait in waiting]

    def close(self) -> None:
        for limiter in self._limiters:
            if isinstance(limiter, RedisLimiter):
                self._loop.run_until_complete(limiter.close())
        self._loop.close()


Make = Callable[[int], Nodes]


@pytest.fixture(params=["memory", "valkey", "cluster"])
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[Nodes] = []
    uncounted: list[int] = []
    make: Callable[[Any], Limiter]
    if request.param == "memory":
        make = lambda _loop: MappedLimiter(tmp_path, KEY)  # noqa: E731 -- one of two
    else:
        address = request.getfixturevalue("gate_of")(request.param)
        make = lambda loop: RedisLimiter(loop, address, KEY, uncounted.append)  # noqa: E731 -- the other

    def build(count: int) -> Nodes:
        made.append(Nodes(make, count))
        return made[-1]

    yield build
    for built in made:
        built.close()
    assert not uncounted


def test_exactly_the_limit_and_then_the_time_to_wait(nodes: Make) -> None:
    node = nodes(1)
    answers = [node.ask(ADDRESSES, Limit("192.0.2.1", 20)) for _ in range(30)]
    assert answers[:20] == [0.0] * 20
    assert all(WINDOW_S - 30 < wait <= WINDOW_S for wait in answers[20:])
    assert node.ask(ADDRESSES, Limit("192.0.2.2", 20)) == 0, "others are not concerned"


def test_nodes_share_one_count_whatever_comes_at_once(nodes: Make) -> None:
    rng = random.Random(5)
    limits = {f"192.0.2.{number}": rng.randint(1, 150) for number in range(10)}
    asked = [(ADDRESSES, (Limit(address, limit),)) for address, limit in limits.items() for _ in range(200)]
    rng.shuffle(asked)
    waits = nodes(4).rush(asked)
    admitted = dict.fromkeys(limits, 0)
    for (_, (limit,)), wait_s in zip(asked, waits, strict=True):
        admitted[limit.subject] += not wait_s
    assert admitted == limits


def test_who_is_refused_by_one_limit_takes_nothing_of_those_behind_it(nodes: Make) -> None:
    node = nodes(2)
    person, everybody = Limit("person:a", 3), Limit("all", 5)
    assert [node.ask("campaign:1", person, everybody) > 0 for _ in range(10)] == [False] * 3 + [True] * 7
    other = Limit("person:b", 10)
    assert [node.ask("campaign:1", other, everybody) > 0 for _ in range(3)] == [False, False, True]


def test_the_same_name_in_another_campaign_is_somebody_else(nodes: Make) -> None:
    node = nodes(1)
    limit = Limit("person:a", 1)
    assert node.ask("campaign:1", limit) == 0
    assert node.ask("campaign:2", limit) == 0
    assert node.ask("campaign:1", limit) > 0


def test_requests_of_many_campaigns_at_once(nodes: Make) -> None:
    asked = [(f"campaign:{number}", (Limit("all", 2),)) for number in range(60)] * 3
    waits = nodes(1).rush(asked)
    assert [wait > 0 for wait in waits] == [False] * 120 + [True] * 60


def test_a_minute_ends(nodes: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a minute of a fifth of a second."""
    for module in ("memory", "redis"):
        monkeypatch.setattr(f"headgate.storage.{module}.limiter.WINDOW_S", 0.2)
    node = nodes(1)
    assert node.ask(ADDRESSES, Limit("192.0.2.1", 1)) == 0
    wait_s = node.ask(ADDRESSES, Limit("192.0.2.1", 1))
    assert 0 < wait_s <= 0.2
    deadline = time.monotonic() + 5
    while node.ask(ADDRESSES, Limit("192.0.2.1", 1)):
        assert time.monotonic() < deadline
