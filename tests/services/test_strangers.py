"""The desk of strangers: who it receives, what goes together, and what is told where nobody can say anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from headgate.domain.campaign import Campaign, CampaignLimits, Control, Kind, Mode, Pool, Verification
from headgate.ports.ledger import LedgerInDoubt, PoolStock
from headgate.ports.strangers import LET_IN, TURNED_AWAY, Strangers, Turned
from headgate.services.book import Entry
from headgate.services.stock import StockBoard
from headgate.services.strangers import POOLS_MAX, STRANGERS_MAX, StrangerDesk

OPENS_MS, CLOSES_MS = 1_000, 2_000
PER_MINUTE = 7


def entry_of(campaign_id: int = 1, *, pools: int = 1, left: int = 0, queues: bool = False, **changes: Any) -> Entry:
    """A campaign with `left` units in its last pool, and none in the others."""
    board = StockBoard()
    ids = range(campaign_id * 1_000, campaign_id * 1_000 + pools)
    board.learn(PoolStock(campaign_id, pool_id, left if pool_id == ids[-1] else 0, 1) for pool_id in ids)
    campaign = Campaign(
        campaign_id, f"c{campaign_id}", Kind.FIRST_COME, {}, OPENS_MS, CLOSES_MS, 0, 1, False, Verification.NONE,
        Control.ACTIVE, 1, tuple(Pool(pool_id, f"p{pool_id}", {}, 5) for pool_id in ids),
    )  # fmt: skip
    return Entry(msgspec.structs.replace(campaign, **changes), board, queues=queues)


class Desk:
    """A desk before a doorkeeper who answers when the test says so."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self.loop = asyncio.new_event_loop()
        self.asked: list[tuple[Strangers, Callable[[Turned | Exception], None]]] = []
        self.uncounted: list[int] = []
        self.told: list[tuple[bytes, int]] = []
        self.desk = StrangerDesk(self.loop, self, str.encode, per_minute, self.uncounted.append)

    def turn_away(self, strangers: Strangers, done: Callable[[Turned | Exception], None]) -> None:
        self.asked.append((strangers, done))

    def knock(self, entry: Entry, *persons: bytes) -> None:
        for person in persons:
            self.desk.ask(entry, person, f"of {person.decode()}", partial(self._tell, person))
        self.loop.run_until_complete(asyncio.sleep(0))

    def _tell(self, person: bytes, said: int) -> None:
        self.told.append((person, said))

    def answer(self, *said: int, uncounted: int = 0) -> None:
        _, done = self.asked.pop(0)
        done(Turned(list(said), uncounted))

    def persons(self) -> list[list[bytes]]:
        return [strangers.persons for strangers, _ in self.asked]


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.loop.close()


def test_it_receives_those_who_ask_what_is_sold_out(desk: Desk) -> None:
    receives = desk.desk.receives
    assert receives(entry_of(), OPENS_MS)
    assert not receives(entry_of(), OPENS_MS - 1)
    assert not receives(entry_of(), CLOSES_MS)
    assert not receives(entry_of(control=Control.PAUSED), OPENS_MS)
    assert not receives(entry_of(pools=3, left=1), OPENS_MS), "one unit of one pool is something"
    assert receives(entry_of(pools=POOLS_MAX), OPENS_MS)
    assert not receives(entry_of(pools=POOLS_MAX + 1), OPENS_MS)


def test_it_receives_nobody_of_whom_more_is_counted_or_who_waits_in_a_queue(desk: Desk) -> None:
    assert not desk.desk.receives(entry_of(limits=CampaignLimits(per_person_per_minute=3)), OPENS_MS)
    assert desk.desk.receives(entry_of(limits=CampaignLimits()), OPENS_MS)
    assert not desk.desk.receives(entry_of(mode=Mode.QUEUED, queues=True), OPENS_MS)
    assert desk.desk.receives(entry_of(mode=Mode.QUEUED), OPENS_MS), "where nothing waits it is decided at once"


def test_those_who_come_while_a_question_is_under_way_go_together(desk: Desk) -> None:
    entry = entry_of(pools=2)
    desk.knock(entry, b"a", b"b")
    desk.knock(entry, b"c")
    desk.knock(entry, b"d")
    assert desk.persons() == [[b"a", b"b"]]
    assert desk.asked[0][0] == Strangers(1, [1_000, 1_001], [b"a", b"b"], [b"of a", b"of b"], PER_MINUTE)
    desk.answer(TURNED_AWAY, LET_IN)
    assert desk.persons() == [[b"c", b"d"]], "the next question goes out before anybody is told"
    desk.answer(9_000, TURNED_AWAY)
    assert desk.asked == []
    assert desk.told == [(b"a", TURNED_AWAY), (b"b", LET_IN), (b"c", 9_000), (b"d", TURNED_AWAY)]
    desk.knock(entry, b"e")
    assert desk.persons() == [[b"e"]]


def test_campaigns_do_not_wait_for_each_other(desk: Desk) -> None:
    desk.knock(entry_of(1), b"a")
    desk.knock(entry_of(2), b"b")
    assert [(strangers.campaign_id, strangers.persons) for strangers, _ in desk.asked] == [(1, [b"a"]), (2, [b"b"])]


def test_a_question_is_bounded(desk: Desk) -> None:
    entry = entry_of()
    desk.knock(entry, b"first")
    desk.knock(entry, *[b"%d" % number for number in range(STRANGERS_MAX + 1)])
    desk.answer(LET_IN)
    assert [len(persons) for persons in desk.persons()] == [STRANGERS_MAX]
    desk.answer(*[LET_IN] * STRANGERS_MAX)
    assert desk.persons() == [[b"%d" % STRANGERS_MAX]]
    assert len(desk.asked[0][0].counters) == 1


def test_nothing_is_counted_where_there_is_no_limit() -> None:
    free = Desk(per_minute=0)
    free.knock(entry_of(), b"a")
    assert free.asked[0][0].counters == []
    free.asked.pop()[1](LedgerInDoubt("gone"))
    assert (free.told, free.uncounted) == ([(b"a", LET_IN)], [])
    free.loop.close()


def test_whoever_got_no_answer_is_let_in_and_told_to_be_uncounted(desk: Desk) -> None:
    desk.knock(entry_of(), b"a", b"b")
    desk.asked.pop()[1](LedgerInDoubt("gone"))
    assert (desk.told, desk.uncounted) == ([(b"a", LET_IN), (b"b", LET_IN)], [2])
    desk.knock(entry_of(), b"c")
    desk.answer(LET_IN, uncounted=1)
    assert desk.uncounted == [2, 1]
