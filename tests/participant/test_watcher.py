"""The thread that brings changes to a worker must outlive whatever it meets."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest

from headgate.participant import watcher as watching
from headgate.participant.watcher import STALE_S, Watcher


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
    watcher = Watcher(loop, cast("Any", looks), cast("Any", None), lambda: None)
    watcher.start()
    assert looks.went_on.wait(30)
    watcher.stop()
    loop.close()


def test_a_worker_is_current_until_the_ledger_has_been_silent_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("headgate.participant.watcher.time.monotonic", lambda: now_s)
    monkeypatch.setattr(watching, "REFRESH_S", 3600.0)
    loop = asyncio.new_event_loop()
    watcher = Watcher(loop, cast("Any", Looks()), cast("Any", None), lambda: None)
    watcher.start()
    now_s += STALE_S - 0.1
    assert watcher.current()
    now_s += 0.1
    assert not watcher.current()
    watcher.stop()
    loop.close()
