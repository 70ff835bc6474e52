"""Reads of what persons hold go together, and none is answered by a read that began before it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, cast

import pytest

from headgate.domain.claim import Claim, PersonKey
from headgate.participant.reader import READ_MAX, Reader
from headgate.participant.refused import Refused
from headgate.ports.ledger import LedgerUnavailable

ANNE, BOB = b"a" * 16, b"b" * 16


class Desk:
    """A ledger of which each read lasts until `finish`; `held` is what it finds when it begins."""

    def __init__(self) -> None:
        self.held: dict[PersonKey, list[Claim]] = {}
        self.reads: list[list[PersonKey]] = []
        self.away = False
        self._under_way: list[tuple[Any, Callable[[Any], None]]] = []

    def claims_of(self, persons: Collection[PersonKey]) -> dict[PersonKey, list[Claim]]:
        if self.away:
            raise LedgerUnavailable("it is away")
        self.reads.append(list(persons))
        return {key: list(self.held.get(key, [])) for key in persons}

    def run(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        result: Any
        try:
            result = job()
        except LedgerUnavailable as error:
            result = error
        self._under_way.append((result, done))

    def finish(self) -> None:
        result, done = self._under_way.pop(0)
        done(result)


def reader_of(desk: Desk) -> Reader:
    return Reader(asyncio.get_running_loop(), cast("Any", desk), desk)


async def turn() -> None:
    """What is ready is done."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_together_goes_together_and_what_is_the_same_once() -> None:
    async def play() -> None:
        desk = Desk()
        reader = reader_of(desk)
        asked = [asyncio.ensure_future(reader.claims_of(1, person)) for person in (ANNE, BOB, ANNE, ANNE)]
        await turn()
        assert desk.reads == [[(1, ANNE), (1, BOB)]]
        desk.finish()
        assert await asyncio.gather(*asked) == [[], [], [], []]

    asyncio.run(play())


def test_whoever_asks_while_a_read_is_under_way_sees_what_was_committed_since_it_began() -> None:
    async def play() -> None:
        desk = Desk()
        reader = reader_of(desk)
        early = asyncio.ensure_future(reader.claims_of(1, ANNE))
        await turn()
        claim = cast("Claim", "hers")
        desk.held[1, ANNE] = [claim]
        late = [asyncio.ensure_future(reader.claims_of(1, ANNE)) for _ in range(100)]
        await turn()
        assert len(desk.reads) == 1, "only one is under way"
        desk.finish()
        assert await early == []
        await turn()
        desk.finish()
        assert await asyncio.gather(*late) == [[claim]] * 100
        assert desk.reads == [[(1, ANNE)]] * 2

    asyncio.run(play())


def test_a_read_is_bounded() -> None:
    async def play() -> None:
        desk = Desk()
        reader = reader_of(desk)
        asked = [asyncio.ensure_future(reader.claims_of(number, ANNE)) for number in range(READ_MAX + 1)]
        await turn()
        desk.finish()
        await turn()
        desk.finish()
        await asyncio.gather(*asked)
        assert [len(read) for read in desk.reads] == [READ_MAX, 1]

    asyncio.run(play())


def test_a_ledger_that_fails_refuses_all_of_a_read_and_none_of_the_next() -> None:
    async def play() -> None:
        desk = Desk()
        reader = reader_of(desk)
        desk.away = True
        asked = [asyncio.ensure_future(reader.claims_of(1, person)) for person in (ANNE, ANNE, BOB)]
        await turn()
        desk.away = False
        desk.finish()
        for question in asked:
            with pytest.raises(Refused):
                await question
        again = asyncio.ensure_future(reader.claims_of(1, ANNE))
        await turn()
        desk.finish()
        assert await again == []

    asyncio.run(play())


def test_whoever_goes_away_takes_nobody_along() -> None:
    async def play() -> None:
        desk = Desk()
        reader = reader_of(desk)
        gone, stays = (asyncio.ensure_future(reader.claims_of(1, ANNE)) for _ in range(2))
        await turn()
        gone.cancel()
        await turn()
        desk.finish()
        assert await stays == []

    asyncio.run(play())
