"""Looks that go to and fro between a primary and replicas that are behind forget nothing and miss nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.domain.campaign import Campaign, Control, Kind, Pool, Verification
from headgate.ports.ledger import LedgerUnavailable, PoolStock
from headgate.ports.replicas import ReplicaAway, T
from headgate.services.book import CampaignBook, Ledgers, Refresher
from headgate.services.stock import StockBoard
from headgate.storage.memory.gate import MemoryGate
from tests.fakes import HandClock

State = Mapping[int, tuple[int, int]]
"""(version, version of its one pool's stock) of each campaign."""


class Server:
    """Has come to some state of the history; `failing` names the calls that fail."""

    def __init__(self, history: list[State]) -> None:
        self.history = history
        self.at = 0
        self.failing: set[str] = set()
        self.asked: list[str] = []
        self._known: State | None = None

    def _state(self, call: str) -> State:
        self.asked.append(call)
        if call in self.failing:
            raise ReplicaAway(call)
        return self.history[self.at]

    def versions(self) -> dict[int, int]:
        return {campaign_id: version for campaign_id, (version, _) in self._state("versions").items()}

    def campaign_by_id(self, campaign_id: int) -> Campaign:
        version, _ = self._state("campaign")[campaign_id]
        return Campaign(
            campaign_id, f"c{campaign_id}", Kind.FIRST_COME, {}, 0, 10_000, 0, 1, False, Verification.NONE,
            Control.ACTIVE, version, (Pool(campaign_id, "p", {}, 1_000),),
        )  # fmt: skip

    def stock_of(self, campaign_id: int) -> list[PoolStock]:
        found = self._state("stock").get(campaign_id)
        return [] if found is None else [PoolStock(campaign_id, campaign_id, 1_000 - found[1], found[1])]

    def changed(self) -> bool:
        state = self._state("changed")
        before, self._known = self._known, state
        return before != state


class Scripted:
    """Reads from the server that the test names; see `headgate.ports.replicas.Sources`."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self._ledgers = [Ledgers(cast("Any", server), cast("Any", server)) for server in servers]
        self.primary = self._ledgers[0]
        self.next = 0

    def read(self, call: Callable[[Ledgers], T]) -> T:
        try:
            return call(self._ledgers[self.next])
        except ReplicaAway:
            return call(self.primary)

    def in_use(self) -> Mapping[int, bool]:
        return {}

    def close(self) -> None:
        pass


class House:
    """One primary (0) and two replicas."""

    def __init__(self) -> None:
        self.history: list[State] = [{1: (1, 1)}]
        self.servers = [Server(self.history) for _ in range(3)]
        self.sources = Scripted(self.servers)
        self.refresher = Refresher(self.sources, HandClock(1_000), exclusive=False)
        self.board = StockBoard()
        self.book = CampaignBook(self.board, MemoryGate(self.board, exclusive=False))

    def write(self, campaign_id: int, *, steered: bool) -> None:
        """The primary changes a campaign, or makes it, or changes its stock."""
        state = dict(self.history[-1])
        version, stock = state.get(campaign_id, (0, 0))
        if campaign_id not in state or steered:
            version += 1
        state[campaign_id] = (version, stock + 1)
        self.history.append(state)
        self.servers[0].at = len(self.history) - 1

    def look(self, server: int) -> None:
        self.sources.next = server
        for news in self.refresher.look():
            self.book.take(news)

    def known(self) -> State:
        return {
            entry.campaign.id: (entry.campaign.version, self.board.version(entry.campaign.id)) for entry in self.book
        }


def test_what_was_seen_stays_seen_where_the_next_look_is_at_a_server_that_is_behind() -> None:
    house = House()
    house.write(1, steered=True)
    house.write(2, steered=True)
    house.look(0)
    seen = house.known()
    assert seen == {1: (2, 2), 2: (1, 1)}
    house.look(1)
    assert house.known() == seen
    assert "campaign" not in house.servers[1].asked, "nothing older is asked for"
    house.servers[1].at = 2
    house.look(1)
    assert house.known() == seen


def test_after_another_server_everything_is_read_although_this_one_says_that_nothing_changed() -> None:
    house = House()
    house.look(1)
    house.write(1, steered=False)
    house.servers[1].at = 1
    # The replica tells its change, and dies before the stock is read.
    house.servers[1].failing = {"stock"}
    house.servers[0].failing = {"versions"}
    with pytest.raises(LedgerUnavailable):
        house.look(1)
    # Another one answers that has not come so far.
    house.look(2)
    assert house.known() == {1: (1, 1)}
    house.servers[1].failing = set()
    house.look(1)
    assert house.known() == {1: (1, 2)}


def test_a_replica_that_fails_in_the_middle_is_followed_by_the_primary_in_the_same_look() -> None:
    for call in ("versions", "campaign", "stock", "changed"):
        house = House()
        house.write(1, steered=True)
        house.servers[1].failing = {call}
        house.look(1)
        assert house.known() == {1: (2, 2)}, call


def test_a_commit_in_doubt_is_read_from_the_primary() -> None:
    house = House()
    house.look(1)
    house.look(1)
    house.write(1, steered=False)
    house.servers[0].asked.clear()
    house.refresher.read_again(1)
    house.look(1)
    assert house.servers[0].asked == ["stock"]
    assert house.known() == {1: (1, 2)}
    house.look(1)
    assert house.servers[0].asked == ["stock"], "once is enough"


def test_nothing_is_read_from_a_server_that_has_nothing_new() -> None:
    house = House()
    house.look(1)
    house.servers[1].asked.clear()
    house.look(1)
    assert house.servers[1].asked == ["versions", "changed"]


STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("follow"), st.integers(1, 2), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 2), st.sampled_from(["versions", "campaign", "stock", "changed", ""])),
    st.tuples(st.just("look"), st.integers(0, 2), st.none()),
    st.tuples(st.just("look"), st.integers(0, 2), st.none()),
)


@given(st.lists(STEPS, max_size=40), st.integers(0, 2))
def test_whatever_fails_and_lags_nothing_goes_backwards_and_in_the_end_everything_is_known(
    steps: list[tuple[str, int, Any]], last: int
) -> None:
    house = House()
    known: State = {}
    for step, number, value in steps:
        match step:
            case "write":
                house.write(number, steered=value)
            case "follow":
                server = house.servers[number]
                server.at = min(server.at + value, len(house.history) - 1)
            case "fail":
                house.servers[number].failing = {value}
            case "look":
                try:
                    house.look(number)
                except LedgerUnavailable:
                    continue
                now = house.known()
                assert all(now[campaign_id] >= before for campaign_id, before in known.items()), (known, now)
                assert all(now[campaign_id][1] >= before[1] for campaign_id, before in known.items()), (known, now)
                read = house.history[house.servers[number].at]
                assert all(now[campaign_id][1] >= stock for campaign_id, (_, stock) in read.items()), "missed"
                known = now
    for server in house.servers:
        server.failing = set()
        server.at = len(house.history) - 1
    house.look(last)
    assert house.known() == house.history[-1]
