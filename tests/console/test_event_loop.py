"""Whoever waits for the ledger or for a hash must not make everybody else wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from headgate.console.tallies import FRESH_S, Tallies
from tests.console.conftest import PASSWORD, Console, Ledger

WAIT_S = 30
"""Far longer than anything here takes; only a fault waits so long."""


class Stuck:
    """Stands in front of a call and holds it until it is let go."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self.entered, self.release = threading.Event(), threading.Event()
        self.released = False

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.entered.set()
        self.released = self.release.wait(WAIT_S)
        return self._call(*arguments, **named)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as opened:
        yield opened


def answers_meanwhile(console: Console, stuck: Stuck, waiting: Future[Any]) -> Any:
    """The console answers while the call is held; the answer of what was waiting."""
    assert stuck.entered.wait(WAIT_S)
    assert console.get("/livez").status_code == 200
    assert not waiting.done()
    stuck.release.set()
    answer = waiting.result(WAIT_S)
    assert stuck.released, "the console stood still until the call gave up"
    return answer


@pytest.mark.parametrize(
    ("path", "call"),
    [("/", "campaigns"), ("/", "stock"), ("/campaigns/masks", "campaign"), ("/campaigns/masks", "tally"),
     ("/metrics", "tally"), ("/metrics", "campaigns")],
)  # fmt: skip
def test_a_ledger_that_hangs_blocks_only_its_page(
    mei: Console, ledger: Ledger, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, path: str, call: str
) -> None:
    ledger.create()
    stuck = Stuck(getattr(ledger.campaigns, call))
    monkeypatch.setattr(ledger.campaigns, call, stuck)
    answer = answers_meanwhile(mei, stuck, pool.submit(mei.get, path))
    assert answer.status_code == 200


@pytest.mark.parametrize(("path", "call"), [("/", "find"), ("/login", "count"), ("/readyz", "count")])
def test_accounts_that_hang_block_only_their_page(
    mei: Console, ledger: Ledger, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, path: str, call: str
) -> None:
    if path == "/login":
        mei.client.cookies.clear()
    stuck = Stuck(getattr(ledger.operators, call))
    monkeypatch.setattr(ledger.operators, call, stuck)
    assert answers_meanwhile(mei, stuck, pool.submit(mei.get, path)).status_code == 200


def test_hashing_blocks_only_who_signs_in(
    console: Console, ledger: Ledger, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(ledger.operators.sign_in)
    monkeypatch.setattr(ledger.operators, "sign_in", stuck)
    assert answers_meanwhile(console, stuck, pool.submit(console.sign_in, "mei", PASSWORD)).status_code == 303


def test_while_somebody_counts_others_get_the_older_tally(
    ledger: Ledger, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    masks = ledger.create()
    tallies = Tallies(lambda slug: ledger.campaigns.tally(slug=slug), ledger.clock, lambda: now)
    assert tallies.of("masks").tally.available == 7
    ledger.claim(masks, "central")
    now += FRESH_S
    stuck = Stuck(ledger.campaigns.tally)
    monkeypatch.setattr(ledger.campaigns, "tally", stuck)
    counting = pool.submit(tallies.of, "masks")
    assert stuck.entered.wait(WAIT_S)
    assert tallies.of("masks").tally.available == 7
    stuck.release.set()
    assert counting.result(WAIT_S).tally.available == 6
    assert tallies.of("masks").tally.available == 6
