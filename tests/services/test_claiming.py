"""How the claim desk shares commits among requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from headgate.domain.claim import Claim, ClaimRequest, Granted, Status
from headgate.domain.outcome import STORE_UNAVAILABLE, UNKNOWN
from headgate.ports.ledger import BatchResult, Cancelled, LedgerBroken, LedgerInDoubt, LedgerUnavailable, Settled
from headgate.ports.pending import Pending
from headgate.services.claiming import BATCH_MAX, ClaimDesk, Decision
from headgate.services.stock import StockBoard
from headgate.storage.memory.gate import MemoryGate
from headgate.storage.memory.telemetry import Counters


class HeldWriter:
    """A ledger that answers when the test says so."""

    def __init__(self) -> None:
        self.batches: list[tuple[Sequence[ClaimRequest], Settled]] = []

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool], done: Settled) -> None:
        assert len(batch) == len(fresh)
        self.batches.append((batch, done))

    def cancel(self, campaign_id: int, person: bytes, claim_id: str, done: Cancelled) -> None:
        pytest.fail("nobody cancels here")

    def close(self) -> None: ...

    def sizes(self) -> list[int]:
        return [len(batch) for batch, _ in self.batches]

    def grant_first(self) -> None:
        batch, done = self.batches.pop(0)
        done(BatchResult([granted(request) for request in batch], []))

    def fail_first(self, error: Exception) -> None:
        _, done = self.batches.pop(0)
        done(error)


class Bench:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.writer = HeldWriter()
        self.doubts: list[int] = []
        board = StockBoard()
        gate = MemoryGate(board, exclusive=True)
        self.broken = 0
        self.counters = Counters("test")
        self.desk = ClaimDesk(self.loop, self.writer, gate, board, self.counters, self.doubts.append, self._break)
        self._persons = 0
        self.decisions: dict[int, Decision] = {}

    def _break(self) -> None:
        self.broken += 1

    def submit(self, count: int) -> None:
        for _ in range(count):
            self._persons += 1
            pending = self.desk.submit(ClaimRequest(1, 1, person(self._persons)), fresh=True)
            self.loop.create_task(self._wait(self._persons, pending))

    async def _wait(self, number: int, pending: Pending[Decision]) -> None:
        self.decisions[number] = await pending

    def turn(self) -> None:
        """Let the loop do everything that is due."""
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.loop.close()


def person(number: int) -> bytes:
    return number.to_bytes(16, "big")


def granted(request: ClaimRequest) -> Granted:
    number = int.from_bytes(request.person, "big")
    return Granted(Claim(f"{number:030x}", number, "p", 1, Status.CONFIRMED, "CODE", 0), repeated=False)


def test_what_arrives_together_goes_together(bench: Bench) -> None:
    bench.submit(3)
    assert bench.writer.sizes() == []
    bench.turn()
    assert bench.writer.sizes() == [3]


def test_two_batches_are_under_way_and_the_rest_waits(bench: Bench) -> None:
    for count in (1, 2, 4, 8):
        bench.submit(count)
        bench.turn()
    assert bench.writer.sizes() == [1, 2]
    bench.writer.grant_first()
    assert bench.writer.sizes() == [2, 12], "the next batch goes out as soon as one is settled"
    bench.writer.grant_first()
    bench.writer.grant_first()
    bench.turn()
    assert sorted(bench.decisions) == list(range(1, 16))
    assert bench.writer.sizes() == []


def test_it_is_measured_how_long_the_first_of_a_batch_waits(bench: Bench) -> None:
    now_s = [100.0]
    bench.loop.time = lambda: now_s[0]  # type: ignore[method-assign]
    for count in (1, 1, 3):
        bench.submit(count)
        bench.turn()
    now_s[0] += 0.25
    bench.submit(1)
    now_s[0] += 0.5
    bench.writer.grant_first()
    assert bench.writer.sizes() == [1, 4]
    counts, total = bench.counters.snapshot()["histograms"]["headgate_ledger_wait_seconds"]
    assert (sum(counts), total) == (3, 0.75)
    bench.writer.grant_first()
    bench.writer.grant_first()
    bench.turn()


def test_the_desk_is_as_new_after_it_ran_empty(bench: Bench) -> None:
    for _ in range(3):
        bench.submit(1)
        bench.turn()
        bench.submit(1)
        bench.turn()
        assert bench.writer.sizes() == [1, 1]
        bench.writer.grant_first()
        bench.writer.grant_first()
        bench.turn()
    assert len(bench.decisions) == 6


def test_a_turn_that_finds_its_requests_sent_already_frees_its_place(bench: Bench) -> None:
    bench.submit(1)
    bench.turn()
    bench.submit(1)  # Its batch is due at the end of this turn,
    bench.writer.grant_first()  # and goes out here already.
    bench.turn()
    assert bench.writer.sizes() == [1]
    bench.submit(1)
    bench.turn()
    bench.submit(1)
    bench.turn()
    assert bench.writer.sizes() == [1, 1]


def test_a_batch_is_bounded(bench: Bench) -> None:
    bench.submit(BATCH_MAX + 5)
    bench.turn()
    assert bench.writer.sizes() == [BATCH_MAX]
    bench.writer.grant_first()
    assert bench.writer.sizes() == [5]


def test_everybody_gets_their_own_answer_in_any_batch(bench: Bench) -> None:
    for count in (5, 7, 9):
        bench.submit(count)
        bench.turn()
    while bench.writer.batches:
        bench.writer.grant_first()
    bench.turn()
    assert {
        number: decision.claim.seq for number, decision in bench.decisions.items() if isinstance(decision, Granted)
    } == {number: number for number in range(1, 22)}


@pytest.mark.parametrize(
    ("error", "answer", "doubts"),
    [(LedgerUnavailable("full"), STORE_UNAVAILABLE, []), (LedgerInDoubt("who knows"), UNKNOWN, [1])],
)
def test_a_failed_batch_is_answered_honestly_and_the_next_goes_on(
    bench: Bench, error: Exception, answer: Any, doubts: list[int]
) -> None:
    bench.submit(2)
    bench.turn()
    bench.submit(1)
    bench.turn()
    bench.writer.fail_first(error)
    bench.writer.grant_first()
    bench.turn()
    assert bench.decisions[1] == bench.decisions[2] == answer
    assert isinstance(bench.decisions[3], Granted)
    assert bench.doubts == doubts


def test_a_client_that_hung_up_changes_nothing_for_the_others(bench: Bench) -> None:
    bench.submit(1)
    leaving = bench.loop.create_task(bench._wait(99, bench.desk.submit(ClaimRequest(1, 1, person(99)), fresh=True)))
    bench.submit(1)
    bench.turn()
    leaving.cancel()
    bench.turn()
    assert not leaving.done(), "the claim keeps its place until it is decided"
    bench.writer.grant_first()
    bench.turn()
    assert leaving.cancelled()
    assert {1, 2} <= set(bench.decisions)


def test_nothing_goes_to_storage_that_has_failed(bench: Bench) -> None:
    for count in (1, 2, 4):
        bench.submit(count)
        bench.turn()
    bench.writer.fail_first(LedgerBroken("the sync failed"))
    bench.turn()
    assert bench.writer.sizes() == [2], "what waited was not sent"
    assert bench.broken == 1
    assert bench.decisions[1] is UNKNOWN
    assert [bench.decisions[number] for number in (4, 5, 6, 7)] == [STORE_UNAVAILABLE] * 4
    bench.submit(1)
    bench.turn()
    assert bench.decisions[8] is STORE_UNAVAILABLE
    assert bench.writer.sizes() == [2]
