"""The thread that brings changes to a worker must outlive whatever it meets."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, cast

import pytest

from headgate.participant import watcher as watching
from headgate.participant.watcher import STALE_S, Watcher
from headgate.ports.ledger import LedgerDamaged, LedgerError, LedgerUnavailable
from headgate.services.book import CampaignBook
from headgate.services.stock import StockBoard
from headgate.storage.memory.gate import MemoryGate


def empty_book() -> CampaignBook:
    board = StockBoard()
    return CampaignBook(board, MemoryGate(board, exclusive=False))


class Looks:
    """A refresher that meets something unforeseen, then goes on."""

    def __init__(self) -> None:
        self.count = 0
        self.went_on = threading.Event()

    def look(self) -> list[Any]:
        self.count += 1
        if self.count == 2:
            raise ValueError("'draw' is not a valid Kind")
        if self.count == 3:
            self.went_on.set()
        return []


def test_a_look_that_fails_in_an_unforeseen_way_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "REFRESH_S", 0.001)
    loop, looks = asyncio.new_event_loop(), Looks()
    watcher = Watcher(loop, cast("Any", looks), empty_book(), lambda: None)
    watcher.start()
    assert looks.went_on.wait(30)
    watcher.stop()
    loop.close()


def test_a_worker_is_current_until_the_ledger_has_been_silent_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("headgate.participant.watcher.time.monotonic", lambda: now_s)
    monkeypatch.setattr(watching, "REFRESH_S", 3600.0)
    loop = asyncio.new_event_loop()
    watcher = Watcher(loop, cast("Any", Looks()), empty_book(), lambda: None)
    watcher.start()
    now_s += STALE_S - 0.1
    assert watcher.current()
    now_s += 0.1
    assert not watcher.current()
    watcher.stop()
    loop.close()


class Fails:
    """A refresher whose first look ends with an error."""

    def __init__(self, error: LedgerError) -> None:
        self._error: LedgerError | None = error

    def look(self) -> list[Any]:
        error, self._error = self._error, None
        if error is not None:
            raise error
        return []


def test_a_worker_begins_without_a_ledger_and_knows_that_it_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "REFRESH_S", 0.001)
    loop, book = asyncio.new_event_loop(), empty_book()
    watcher = Watcher(loop, cast("Any", Fails(LedgerUnavailable("it is away"))), book, lambda: None)
    watcher.start()
    assert (book.read, watcher.current()) == (False, False)

    deadline = time.monotonic() + 30
    while not book.read:
        assert time.monotonic() < deadline
        loop.run_until_complete(asyncio.sleep(0))
    assert watcher.current()
    watcher.stop()
    loop.close()


def test_a_worker_does_not_begin_on_a_ledger_that_contradicts_itself() -> None:
    loop = asyncio.new_event_loop()
    watcher = Watcher(loop, cast("Any", Fails(LedgerDamaged("torn"))), empty_book(), lambda: None)
    with pytest.raises(LedgerDamaged):
        watcher.start()
    loop.close()
