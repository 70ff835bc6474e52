"""What a worker takes as read when looking at the ledger fails half-way."""

from __future__ import annotations

from typing import Any, cast

import pytest

from headgate.domain.campaign import Campaign, Control, Kind, Mode, Pool, Verification
from headgate.ports.ledger import LedgerUnavailable, PoolStock
from headgate.services.book import CampaignBook, Ledgers, Refresher
from headgate.services.primary_alone import PrimaryAlone
from headgate.services.stock import StockBoard
from headgate.storage.memory.gate import MemoryGate
from tests.fakes import HandClock

NOW_MS = 1_000


class Ledger:
    """Campaigns 1 and 2, each with one pool; `failing` names the calls that fail."""

    def __init__(self) -> None:
        self.known = {1: 1, 2: 1}
        self.failing: set[tuple[str, int]] = set()
        self.written = True
        self.mode = {1: Mode.IMMEDIATE, 2: Mode.IMMEDIATE}

    def _ask(self, call: str, campaign_id: int) -> None:
        if (call, campaign_id) in self.failing:
            raise LedgerUnavailable(f"{call} of {campaign_id}")

    def versions(self) -> dict[int, int]:
        return dict(self.known)

    def campaign_by_id(self, campaign_id: int) -> Campaign:
        self._ask("campaign", campaign_id)
        pools = (Pool(campaign_id, "p", {}, 5),)
        return Campaign(
            campaign_id, f"c{campaign_id}", Kind.FIRST_COME, {}, 0, NOW_MS * 2, 0, 1, False, Verification.NONE,
            Control.ACTIVE, self.known[campaign_id], pools, mode=self.mode[campaign_id],
        )  # fmt: skip

    def stock_of(self, campaign_id: int) -> list[PoolStock]:
        self._ask("stock", campaign_id)
        return [PoolStock(campaign_id, campaign_id, 5, 1)]

    def persons_of(self, campaign_id: int) -> list[bytes]:
        self._ask("persons", campaign_id)
        return [b"somebody"]

    def changed(self) -> bool:
        written, self.written = self.written, False
        return written


def looking(ledger: Ledger, *, exclusive: bool) -> Refresher:
    ledgers = Ledgers(cast("Any", ledger), cast("Any", ledger))
    return Refresher(PrimaryAlone(ledgers), HandClock(NOW_MS), exclusive=exclusive)


@pytest.mark.parametrize("call", ["campaign", "stock", "persons"])
def test_what_was_read_before_a_failure_is_read_again(call: str) -> None:
    ledger = Ledger()
    refresher = looking(ledger, exclusive=True)
    ledger.failing = {(call, 2)}
    with pytest.raises(LedgerUnavailable):
        refresher.look()
    ledger.failing = set()
    news = refresher.look()
    assert [(item.campaign_id, item.campaign is not None, item.persons) for item in news] == [
        (1, True, [b"somebody"]),
        (2, True, [b"somebody"]),
    ]
    assert refresher.look() == []


def test_a_commit_in_doubt_stays_doubtful_until_its_stock_was_read() -> None:
    ledger = Ledger()
    refresher = looking(ledger, exclusive=True)
    refresher.look()
    refresher.read_again(1)
    refresher.read_again(2)
    ledger.failing = {("stock", 2)}
    with pytest.raises(LedgerUnavailable):
        refresher.look()
    ledger.failing = set()
    assert [item.campaign_id for item in refresher.look()] == [1, 2]
    assert refresher.look() == []


def test_what_others_wrote_is_read_after_a_failure_although_the_ledger_says_it_once() -> None:
    ledger = Ledger()
    refresher = looking(ledger, exclusive=False)
    refresher.look()
    ledger.written = True
    ledger.failing = {("stock", 1)}
    with pytest.raises(LedgerUnavailable):
        refresher.look()
    ledger.failing = set()
    assert [item.campaign_id for item in refresher.look()] == [1, 2]
    assert refresher.look() == []


def test_a_worker_that_makes_all_other_claims_knows_nobody_of_a_queued_campaign_and_reads_its_stock() -> None:
    ledger = Ledger()
    ledger.mode[2] = Mode.QUEUED
    refresher = looking(ledger, exclusive=True)
    persons = {item.campaign_id: item.persons for item in refresher.look() if item.campaign is not None}
    assert persons == {1: [b"somebody"], 2: None}, "a consumer may have claimed for anybody"
    ledger.written = True
    assert [item.campaign_id for item in refresher.look()] == [2]
    assert refresher.look() == []


def test_a_worker_that_makes_all_claims_does_not_ask_who_else_wrote() -> None:
    ledger = Ledger()
    refresher = looking(ledger, exclusive=True)
    refresher.look()
    assert refresher.look() == []
    assert ledger.written, "that was never asked for"


@pytest.mark.parametrize(
    ("mode", "queues", "queued"),
    [(Mode.QUEUED, True, True), (Mode.QUEUED, False, False), (Mode.IMMEDIATE, True, False)],
)
def test_requests_wait_where_the_campaign_says_so_and_they_can(mode: Mode, queues: bool, queued: bool) -> None:
    ledger, board = Ledger(), StockBoard()
    ledger.mode[1] = mode
    book = CampaignBook(board, MemoryGate(board, exclusive=True), queues=queues)
    book.take_all(looking(ledger, exclusive=True).look())
    entry = book.get("c1")
    assert entry is not None
    assert entry.queued is queued
