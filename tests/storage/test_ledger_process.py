"""A worker and its ledger process: what they tell each other, and what is told when one of them is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from headgate.domain import allocation, campaign, outcome
from headgate.domain.claim import Claim, ClaimRequest, Granted, Status
from headgate.domain.outcome import Refusal
from headgate.ports import ledger as port
from headgate.ports.ledger import BatchResult, LedgerBroken, LedgerError, LedgerInDoubt, PoolStock
from headgate.ports.strangers import Strangers, Turned
from headgate.storage.sql import ledger_process, sqlite_claims
from headgate.storage.sql.ledger_process import RECEIVE_BYTES, ProcessWriter
from headgate.storage.sql.wire import REFUSALS, error_reply, raised
from tests.storage.scripted_ledger import BROKEN, DIES, ERRORS, RAISES, REFUSES, WAITS

CHILD = Path(__file__).with_name("scripted_ledger.py")
PATIENCE_S = 10
PERSON = b"\x07" * 16
MASKS = 5
"""A campaign about which nothing is special."""


class Rig:
    """A writer on an event loop, and everything that it has said so far."""

    def __init__(self, loop: asyncio.AbstractEventLoop, command: Sequence[str]) -> None:
        self.loop = loop
        self.answers: list[Any] = []
        self.faults: list[dict[str, Any]] = []
        self.losses = 0
        self._calls = 0
        self._order: list[int] = []
        self._news = asyncio.Event()
        self.writer = ProcessWriter(loop, command, os.environ, self._lost)
        loop.set_exception_handler(lambda _, fault: self.faults.append(fault))

    @property
    def pid(self) -> int:
        return self.writer._process.pid

    def hearer(self) -> Callable[[Any], None]:
        """The callback of the next call; each hears its own answer."""
        number = self._calls
        self._calls += 1

        def hear(answer: Any) -> None:
            self._order.append(number)
            self.answers.append(answer)
            self._news.set()

        return hear

    def _lost(self) -> None:
        self.losses += 1
        self._news.set()

    def confirm(self, *requests: ClaimRequest, fresh: bool = True) -> None:
        self.writer.confirm(requests, [fresh] * len(requests), self.hearer())

    def cancel(self, claim_id: str, campaign_id: int = MASKS) -> None:
        self.writer.cancel(campaign_id, PERSON, claim_id, self.hearer())

    def until(self, what: Callable[[], bool]) -> None:
        async def heard() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while not what():
                    self._news.clear()
                    await self._news.wait()

        self.loop.run_until_complete(heard())

    def answered(self, count: int) -> list[Any]:
        """The first so many answers, waited for."""
        self.until(lambda: len(self.answers) >= count)
        assert self._order == list(range(len(self.answers))), "an answer went to somebody else's call"
        return self.answers[:count]

    def close(self) -> None:
        self.writer.close()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    loop: asyncio.AbstractEventLoop = request.param()
    yield loop
    loop.close()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.fixture
def rig(loop: asyncio.AbstractEventLoop, fifo: Path) -> Iterator[Rig]:
    built = Rig(loop, [sys.executable, str(CHILD), str(fifo)])
    yield built
    # Whatever a test left waiting must not be waited for.
    built.writer._process.kill()
    built.close()
    assert built.faults == []


def let_go(fifo: Path) -> None:
    # Opened for both, because opening for writing alone waits for a reader.
    descriptor = os.open(fifo, os.O_RDWR)
    os.write(descriptor, b"x")


def ask(pool_id: int = 1, *, campaign_id: int = MASKS, person: bytes = PERSON) -> ClaimRequest:
    return ClaimRequest(campaign_id, pool_id, person)


def test_everything_about_a_request_arrives_and_everything_about_a_claim_comes_back(rig: Rig) -> None:
    plain = ClaimRequest(2**40, 3, PERSON)
    keyed = ClaimRequest(2**40, 4, PERSON, b"\x00" * 16, b"\xff" * 16)
    rig.writer.confirm([plain, keyed], [True, False], rig.hearer())
    (answer,) = rig.answered(1)
    at = 1_796_097_600_000
    ids = [f"{PERSON.hex()}:2d:2d", f"{PERSON.hex()}:{'00' * 16}:{'ff' * 16}"]
    assert answer == BatchResult(
        [
            Granted(Claim(ids[0], 2**40, "p3", 1, Status.CONFIRMED, "CODE", at), repeated=False),
            Granted(Claim(ids[1], 2**40, "p4", 1, Status.CONFIRMED, "CODE", at), repeated=True),
        ],
        [PoolStock(2**40, 3, 2, 1)],
    )
    assert all(type(granted.claim.status) is Status for granted in answer.decisions)


def test_a_cancelled_claim_comes_back(rig: Rig) -> None:
    rig.cancel("abc")
    ended = Claim("abc", 3, PERSON.hex(), -3, Status.CANCELLED, "CODE", 1_796_097_600_000)
    assert rig.answered(1) == [(ended, [PoolStock(MASKS, 1, 5, 1)])]


def test_strangers_go_to_the_doorkeeper_and_what_it_says_comes_back(rig: Rig) -> None:
    rig.writer.turn_away(Strangers(2**40, [2**33, 5], [b"\x01", b"\x02"], [b"c" * 41], 200), rig.hearer())
    rig.writer.turn_away(Strangers(MASKS, [], [], [], 0), rig.hearer())
    rig.writer.turn_away(Strangers(RAISES, [], [PERSON], [], 0), rig.hearer())
    first, second, third = rig.answered(3)
    assert first == Turned([-1, -2, 2**33, 5, 41, 200], 2**40)
    assert second == Turned([0], MASKS)
    assert type(third) is port.LedgerUnavailable


def test_every_refusal_is_the_same_constant_on_both_sides(rig: Rig) -> None:
    rig.confirm(*(ask(REFUSES + number) for number in range(len(REFUSALS))))
    for number in range(len(REFUSALS)):
        rig.cancel(str(number))
    confirmed, *cancelled = rig.answered(1 + len(REFUSALS))
    # The desk and the pages look at which one it is, not at what it says.
    assert [id(refusal) for refusal in confirmed.decisions] == [id(refusal) for refusal in REFUSALS]
    assert [id(ended) for ended, _ in cancelled] == [id(refusal) for refusal in REFUSALS]


def test_every_refusal_that_a_ledger_gives_has_a_number() -> None:
    given = {
        value
        for module in (allocation, campaign, sqlite_claims)
        for value in vars(module).values()
        if isinstance(value, Refusal)
    }
    assert {outcome.SOLD_OUT, outcome.UNKNOWN_CLAIM, outcome.KEY_REUSED} <= given
    assert given - set(REFUSALS) == set()
    assert len(set(REFUSALS)) == len(REFUSALS)


@pytest.mark.parametrize("number", range(len(ERRORS)), ids=[type(error).__name__ for error in ERRORS])
def test_every_kind_of_error_survives_and_the_process_goes_on(rig: Rig, number: int) -> None:
    error = ERRORS[number]
    rig.confirm(ask(number, campaign_id=RAISES))
    rig.cancel(str(number), campaign_id=RAISES)
    rig.confirm(ask())
    *failed, after = rig.answered(3)
    # What nobody expected may have happened before or after the commit.
    kind = type(error) if isinstance(error, LedgerError) and type(error) is not LedgerError else LedgerInDoubt
    assert [type(answer) for answer in failed] == [kind, kind]
    assert [str(answer) for answer in failed] == [str(error) or type(error).__name__] * 2
    assert isinstance(after, BatchResult)
    assert rig.losses == 0


def test_every_kind_of_error_of_the_port_has_a_name_on_the_wire() -> None:
    kinds = [
        kind
        for kind in vars(port).values()
        if isinstance(kind, type) and issubclass(kind, LedgerError) and kind is not LedgerError
    ]
    assert len(kinds) >= 4
    for kind in kinds:
        again = raised(error_reply(kind("what happened")))
        assert (type(again), str(again)) == (kind, "what happened")


def test_nothing_is_written_after_storage_has_failed(rig: Rig) -> None:
    rig.confirm(ask(len(ERRORS), campaign_id=RAISES))
    rig.confirm(ask())
    rig.cancel("abc")
    first, *after = rig.answered(3)
    assert (type(first), str(first)) == (LedgerBroken, str(BROKEN))
    assert [type(answer) for answer in after] == [LedgerBroken] * 2
    assert all(str(rig.pid) in str(answer) for answer in after)
    rig.until(lambda: rig.losses == 1)


def test_answers_come_in_the_order_of_the_calls(rig: Rig) -> None:
    for number in range(100):
        if number % 3:
            rig.confirm(ask(number))
        else:
            rig.cancel(f"claim-{number}")

    def name_of(answer: Any) -> str:
        name: str = answer[0].id if isinstance(answer, tuple) else answer.decisions[0].claim.pool_code
        return name

    told = [name_of(answer) for answer in rig.answered(100)]
    assert told == [f"p{number}" if number % 3 else f"claim-{number}" for number in range(100)]


def test_an_answer_that_is_larger_than_one_read_comes_whole(rig: Rig) -> None:
    persons = [number.to_bytes(16, "big") for number in range(8_000)]
    rig.confirm(*(ask(person=person) for person in persons))
    rig.confirm(ask(2))
    large, small = rig.answered(2)
    assert sum(len(granted.claim.id) for granted in large.decisions) > RECEIVE_BYTES
    assert [granted.claim.id[:32] for granted in large.decisions] == [person.hex() for person in persons]
    assert len(small.decisions) == 1


def fill(rig: Rig, calls: int = 80) -> None:
    """More than any socket buffer takes, to a process that is waiting."""
    rig.confirm(ask(campaign_id=WAITS))
    persons = [number.to_bytes(16, "big") for number in range(3_000)]
    for number in range(calls):
        rig.confirm(*(ask(number, person=person) for person in persons))
    assert rig.writer._unsent, "the socket took everything, so that nothing is tried here"


def test_calls_that_the_socket_does_not_take_at_once_are_answered_in_order(rig: Rig, fifo: Path) -> None:
    fill(rig)
    rig.cancel("the-last")
    let_go(fifo)
    answers = rig.answered(82)
    assert [answer.decisions[-1].claim.pool_code for answer in answers[1:81]] == [f"p{number}" for number in range(80)]
    assert answers[81][0].id == "the-last"
    assert rig.losses == 0


def test_who_waits_when_the_process_is_killed_is_told_that_nobody_knows(rig: Rig) -> None:
    rig.confirm(ask(1))
    rig.confirm(ask(campaign_id=WAITS))
    rig.confirm(ask(3))
    rig.cancel("abc")
    rig.answered(1)
    os.kill(rig.pid, signal.SIGKILL)
    first, *others = rig.answered(4)
    assert isinstance(first, BatchResult)
    assert [type(answer) for answer in others] == [LedgerBroken] * 3
    assert all(f"the ledger process {rig.pid}" in str(answer) for answer in others)
    rig.until(lambda: rig.losses > 0)
    assert rig.losses == 1


def test_calls_that_were_not_sent_yet_are_told_too_when_the_process_is_killed(rig: Rig) -> None:
    fill(rig)
    os.kill(rig.pid, signal.SIGKILL)
    assert {type(answer) for answer in rig.answered(81)} == {LedgerBroken}
    rig.until(lambda: rig.losses > 0)
    rig.confirm(ask())
    assert type(rig.answered(82)[-1]) is LedgerBroken
    assert rig.losses == 1


def test_a_process_that_dies_in_the_middle_of_a_call_is_noticed(rig: Rig) -> None:
    rig.confirm(ask(campaign_id=DIES))
    (answer,) = rig.answered(1)
    assert type(answer) is LedgerBroken
    rig.until(lambda: rig.losses == 1)


def test_a_process_that_dies_while_nobody_waits_is_noticed(rig: Rig) -> None:
    os.kill(rig.pid, signal.SIGKILL)
    rig.until(lambda: rig.losses == 1)
    assert rig.answers == []


def test_who_asks_after_the_loss_is_told_of_it(rig: Rig) -> None:
    os.kill(rig.pid, signal.SIGKILL)
    rig.until(lambda: rig.losses > 0)
    rig.confirm(ask())
    rig.cancel("abc")
    assert rig.answers == [], "a callback that runs inside of the call finds its caller half done"
    assert [type(answer) for answer in rig.answered(2)] == [LedgerBroken] * 2


def test_a_process_that_does_not_start_is_noticed(loop: asyncio.AbstractEventLoop) -> None:
    rig = Rig(loop, [sys.executable, "-c", "raise SystemExit(1)"])
    rig.confirm(ask())
    assert [type(answer) for answer in rig.answered(1)] == [LedgerBroken]
    rig.until(lambda: rig.losses > 0)
    rig.close()


def test_closing_ends_the_process_and_is_no_loss(rig: Rig) -> None:
    rig.confirm(ask())
    rig.answered(1)
    rig.close()
    assert rig.writer._process.returncode == 0
    rig.loop.run_until_complete(asyncio.sleep(0))
    assert rig.losses == 0


def test_a_process_that_does_not_end_is_killed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_process, "STOP_S", 0.1)
    rig.confirm(ask(1))
    rig.confirm(ask(campaign_id=WAITS))
    rig.answered(1)
    rig.close()
    assert rig.writer._process.returncode == -signal.SIGKILL
