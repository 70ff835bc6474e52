"""A consumer decides what waits, and whatever dies in between, nothing is lost and nothing decided twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa
import structlog.testing

from headgate.domain.campaign import Control, Mode
from headgate.domain.claim import QUEUED, Claim, ClaimRequest, Status
from headgate.lab.simulation.queue import ABANDONED_S, SimulatedQueue
from headgate.ports.ledger import BatchResult, LedgerBroken, LedgerInDoubt, LedgerUnavailable
from headgate.ports.queue import ClaimQueue, QueueState, WaitingClaims, Which
from headgate.services.claiming import BATCH_MAX
from headgate.services.consuming import AFTERWARDS_MS, IDLE_S, LOOK_S, RETRY_MAX_S, RETRY_MIN_S, Consumer
from headgate.storage.memory.telemetry import Counters
from headgate.storage.redis.address import GateAddress
from tests.fakes import SeededEntropy
from tests.storage.house import House
from tests.storage.queue_bench import NOTHING, PENDING, RedisBench, put


class Troubled:
    """A ledger that fails when the test says so: before it has done anything, or after it has committed."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.before: list[Exception | None] = []
        self.after: list[Exception | None] = []
        self.batches: list[int] = []

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        self.batches.append(len(batch))
        self._fail(self.before)
        result: BatchResult = self._ledger.confirm(batch, fresh)
        self._fail(self.after)
        return result

    @staticmethod
    def _fail(with_: list[Exception | None]) -> None:
        error = with_.pop(0) if with_ else None
        if error is not None:
            raise error


class Killed(BaseException):
    """kill -9, as a process feels it."""


class Scene:
    """`masks` of the house is immediate; `lamps` is queued, and so is `bread`, of which a person may hold two."""

    def __init__(self, place: Path | sa.URL, bench: RedisBench | None = None) -> None:
        """The queue is simulated where there is no `bench`."""
        self.house = House(place)
        self.house.create("lamps", mode=Mode.QUEUED)
        self.house.create("bread", per_person=2, mode=Mode.QUEUED)
        self.now_s = 1_000.0
        self.queue = SimulatedQueue(lambda: self.now_s, SeededEntropy())
        self._bench = bench
        self._loop = asyncio.new_event_loop()
        self.ledger = Troubled(self.house.claims)
        self.counters = Counters("consumer")
        self.consumer = self.another("first")

    def another(self, name: str) -> Consumer:
        queue: WaitingClaims = self._bench.consumer(name) if self._bench else self.queue.consumer(name)
        return Consumer(
            self.house.campaigns, self.house.claims, cast("Any", self.ledger), queue, self.counters, self.house.clock,
            lambda: self.now_s,
        )  # fmt: skip

    def put(self, *persons: int, pool: str = "a", slug: str = "lamps") -> None:
        requests = [self.house.request(person, pool, slug) for person in persons]
        if self._bench:
            assert put(self._bench, *requests) == [QUEUED] * len(requests)
        else:
            assert [self.queue.put(request) for request in requests] == [QUEUED] * len(requests)

    def state(self, person: int, slug: str = "lamps") -> QueueState:
        request = self.house.request(person, slug=slug)
        queue: ClaimQueue = self._bench.queue if self._bench else self.queue
        loop = self._bench.loop if self._bench else self._loop
        return loop.run_until_complete(queue.state_of(request.campaign_id, request.person))

    def time_passes(self) -> None:
        """Long enough for what was taken to be abandoned."""
        self.now_s += ABANDONED_S
        if self._bench:
            self._bench.time_passes()

    def close(self) -> None:
        self._loop.close()
        self.house.close()

    def claims(self, person: int, slug: str = "lamps") -> list[Claim]:
        return self.house.claims_of(person, slug)

    def held(self, person: int, slug: str = "lamps") -> int:
        return sum(claim.status is Status.CONFIRMED for claim in self.claims(person, slug))

    def decided(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, outcome, count in self.counters.snapshot()["claims"]:
            found[outcome] = found.get(outcome, 0) + count
        return found

    def turn(self, consumer: Consumer | None = None) -> float:
        pause_s = (consumer or self.consumer).turn()
        self.now_s += pause_s
        return pause_s


@pytest.fixture
def scene(place: Path | sa.URL) -> Iterator[Scene]:
    made = Scene(place)
    yield made
    made.close()


SERVERS = [("sqlite", "valkey"), ("postgresql", "valkey"), ("postgresql", "cluster"), ("mariadb", "cluster")]


@pytest.fixture(params=SERVERS, ids="-".join)
def on_servers(
    request: pytest.FixtureRequest,
    place_on: Callable[[str], Path | sa.URL],
    gate_of: Callable[[str], GateAddress],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    """With a queue as nodes share it."""
    engine, kind = request.param
    bench = RedisBench(gate_of(kind), monkeypatch)
    made = Scene(place_on(engine), bench)
    yield made
    made.close()
    bench.close()


@pytest.fixture
def on_a_file(tmp_path: Path) -> Iterator[Scene]:
    """Where the engine makes no difference."""
    made = Scene(tmp_path / "ledger.db")
    yield made
    made.close()


def test_what_waits_is_decided_together_and_told_afterwards(scene: Scene) -> None:
    scene.put(1, 2, 3)
    scene.put(1, pool="b", slug="bread")
    assert [scene.state(person) for person in (1, 2, 3)] == [PENDING] * 3
    scene.turn()
    assert sorted(scene.ledger.batches) == [1, 3]
    assert [scene.held(person) for person in (1, 2, 3)] == [1, 1, 0]
    assert [scene.state(person) for person in (1, 2)] == [NOTHING, NOTHING]
    assert scene.state(3).outcome == "sold_out"
    assert scene.held(1, "bread") == 1
    assert scene.decided() == {"confirmed": 3, "sold_out": 1}
    assert scene.turn() >= IDLE_S
    assert len(scene.ledger.batches) == 2


def test_a_consumer_that_dies_after_the_commit_leaves_a_claim_that_is_found_again(scene: Scene) -> None:
    scene.put(1, slug="bread")
    scene.ledger.after = [cast("Exception", Killed())]
    with pytest.raises(Killed):
        scene.turn()
    assert (scene.held(1, "bread"), scene.state(1, "bread")) == (1, PENDING), "pending until somebody says otherwise"
    scene.turn(scene.another("first"))
    assert scene.ledger.batches == [1, 1]
    assert (scene.held(1, "bread"), scene.state(1, "bread")) == (1, NOTHING), "two are allowed, and one was asked for"
    assert scene.decided() == {"repeated": 1}


def test_on_real_servers_a_death_loses_nothing_and_gives_nothing_twice(on_servers: Scene) -> None:
    scene = on_servers
    scene.put(1, 2, 3, slug="bread")
    scene.ledger.after = [cast("Exception", Killed())]
    with pytest.raises(Killed):
        scene.turn()
    scene.put(4, slug="bread")
    other = scene.another("second")
    scene.turn(other)
    assert [scene.state(person, "bread") for person in (1, 2, 3)] == [PENDING] * 3
    assert scene.state(4, "bread").outcome == "sold_out"
    scene.time_passes()
    scene.turn(other)
    assert [scene.held(person, "bread") for person in (1, 2, 3)] == [1, 1, 0]
    assert [scene.state(person, "bread") for person in (1, 2)] == [NOTHING, NOTHING]
    assert scene.state(3, "bread").outcome == "sold_out"
    assert scene.house.campaigns.tally("bread").ok


def test_what_was_cancelled_meanwhile_is_not_given_again(scene: Scene) -> None:
    scene.put(1)
    scene.ledger.after = [LedgerInDoubt("the answer to a commit did not come")]
    scene.turn()
    (claim,) = scene.claims(1)
    request = scene.house.request(1, slug="lamps")
    scene.house.claims.cancel(request.campaign_id, request.person, claim.id)
    scene.turn()
    assert scene.ledger.batches == [1, 1]
    assert [found.status for found in scene.claims(1)] == [Status.CANCELLED]
    scene.put(1)
    scene.turn()
    assert scene.held(1) == 1, "asked for once more, by the person"


def test_what_a_dead_consumer_took_is_decided_by_another(scene: Scene) -> None:
    scene.put(1, 2)
    scene.ledger.before = [cast("Exception", Killed())]
    with pytest.raises(Killed):
        scene.turn()
    other = scene.another("second")
    scene.turn(other)
    assert scene.ledger.batches == [2], "it may still be at it"
    scene.time_passes()
    scene.turn(other)
    assert scene.ledger.batches == [2, 2]
    assert [scene.held(person) for person in (1, 2)] == [1, 1]


def test_a_consumer_that_was_slow_tells_nobody_who_won_that_they_lost(scene: Scene) -> None:
    """It decided first, was stopped, and goes on when another has decided otherwise."""
    scene.put(1)
    queue = scene.queue.consumer("slow")
    campaign_id = scene.house.request(1, slug="lamps").campaign_id
    holders = scene.house.ask(*(scene.house.request(person, slug="lamps") for person in (8, 9)))
    taken = queue.take(campaign_id, Which.NEW, 10).waiting
    refused = scene.house.claims.confirm([taken[0].request], [False]).decisions
    scene.house.claims.cancel(campaign_id, scene.house.request(8).person, cast("Any", holders[0]).claim.id)
    scene.time_passes()
    scene.turn()
    assert scene.held(1) == 1
    queue.settle(campaign_id, list(zip(taken, refused, strict=True)))
    assert scene.state(1) == NOTHING


@pytest.mark.parametrize("error", [LedgerUnavailable("the disk is full"), LedgerInDoubt("no answer")])
def test_what_could_not_be_written_stays_and_is_tried_again_less_and_less_often(
    on_a_file: Scene, error: Exception
) -> None:
    scene = on_a_file
    scene.put(1, 2, 3)
    scene.ledger.before = [error] * 8
    with structlog.testing.capture_logs() as logs:
        pauses = [scene.turn() for _ in range(8)]
    assert [log["event"] for log in logs] == ["nothing_decided"]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (RETRY_MIN_S, RETRY_MAX_S)
    assert [scene.state(person) for person in (1, 2, 3)] == [PENDING] * 3
    scene.turn()
    assert [scene.held(person) for person in (1, 2, 3)] == [1, 1, 0]
    assert scene.ledger.batches == [3] * 9
    scene.ledger.before = [error]
    scene.put(4)
    assert scene.turn() == RETRY_MIN_S, "as patient as the first time"


def test_a_ledger_that_is_broken_ends_the_process_and_keeps_everybody_waiting(on_a_file: Scene) -> None:
    scene = on_a_file
    scene.put(1)
    scene.ledger.before = [LedgerBroken("a sync has failed")]
    with pytest.raises(LedgerBroken):
        scene.turn()
    assert scene.state(1) == PENDING
    scene.turn(scene.another("first"))
    assert scene.held(1) == 1


def test_a_queue_that_is_away_is_waited_for(on_a_file: Scene) -> None:
    scene = on_a_file
    scene.put(1)
    scene.queue.away = True
    assert [scene.turn() for _ in range(2)] == [RETRY_MIN_S, 2 * RETRY_MIN_S]
    scene.queue.away = False
    scene.turn()
    assert scene.held(1) == 1


def test_a_queue_that_goes_away_between_the_commit_and_its_word_is_told_later(on_a_file: Scene) -> None:
    scene = on_a_file
    scene.put(1, 2, 3)
    original = scene.ledger.confirm

    def confirm(batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        scene.queue.away = True
        return original(batch, fresh)

    scene.ledger.confirm = confirm  # type: ignore[method-assign]
    scene.turn()
    scene.ledger.confirm = original  # type: ignore[method-assign]
    scene.queue.away = False
    assert scene.held(1) == 1
    assert scene.state(1) == PENDING
    scene.turn()
    assert [scene.held(person) for person in (1, 2, 3)] == [1, 1, 0]
    assert scene.state(1) == NOTHING
    assert scene.state(3).outcome == "sold_out"


def test_who_waited_until_the_end_is_told_that_it_is_over(scene: Scene) -> None:
    scene.put(1)
    scene.house.clock.forward(3_600)
    scene.turn()
    assert (scene.held(1), scene.state(1).outcome) == (0, "closed")


def test_who_waits_during_a_pause_is_told_so(scene: Scene) -> None:
    scene.put(1)
    assert scene.house.campaigns.control(
        "lamps", Control.PAUSED, expected=Control.ACTIVE, command="pause", actor="test"
    )
    scene.turn()
    assert scene.state(1).outcome == "paused"


def test_a_key_with_two_bodies_makes_one_claim_whoever_decides(scene: Scene) -> None:
    request = scene.house.request(1, "b", "bread", key=b"k")
    scene.queue.put(request)
    scene.turn()
    other = ClaimRequest(request.campaign_id, request.pool_id, request.person, request.key_digest, b"x" * 16)
    scene.queue.put(other)
    scene.turn()
    assert scene.held(1, "bread") == 1
    assert scene.state(1, "bread").reason == "key_reused"
    scene.queue.put(request)
    scene.turn()
    assert (scene.held(1, "bread"), scene.state(1, "bread")) == (1, NOTHING)


def test_campaigns_come_and_go_and_those_that_are_immediate_are_left_alone(on_a_file: Scene) -> None:
    scene = on_a_file
    scene.turn()
    scene.put(1, slug="masks")
    scene.house.create("late", mode=Mode.QUEUED)
    scene.put(1, slug="late")
    scene.now_s += LOOK_S
    scene.turn()
    assert (scene.held(1, "late"), scene.held(1, "masks")) == (1, 0)
    scene.put(2, slug="late")
    scene.house.clock.forward(AFTERWARDS_MS / 1000 + 60)
    scene.now_s += LOOK_S
    scene.turn()
    assert scene.ledger.batches == [1]


def test_a_batch_is_bounded_and_the_next_follows_at_once(on_a_file: Scene) -> None:
    scene = on_a_file
    campaign = scene.house.campaigns.campaign("lamps")
    for number in range(BATCH_MAX + 7):
        scene.queue.put(ClaimRequest(campaign.id, campaign.pools[0].id, number.to_bytes(16, "big")))
    assert scene.turn() == 0.0
    assert (scene.consumer.length, scene.ledger.batches) == (7, [BATCH_MAX])
    scene.now_s += 3.0
    assert scene.turn() == 0.0
    assert (scene.consumer.length, scene.consumer.age_s) == (0, 3.0)
    assert scene.turn() > 0.0
    assert scene.consumer.age_s == 0.0
    assert scene.ledger.batches == [BATCH_MAX, 7]


def test_a_campaign_that_cannot_be_decided_keeps_no_other_waiting(on_a_file: Scene) -> None:
    scene = on_a_file
    scene.put(1)
    scene.put(1, slug="bread")
    lamps = scene.house.request(1, slug="lamps").campaign_id
    original = scene.ledger.confirm

    def confirm(batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        if batch[0].campaign_id == lamps:
            raise LedgerUnavailable("of this one")
        return original(batch, fresh)

    scene.ledger.confirm = confirm  # type: ignore[method-assign]
    for _ in range(2):
        scene.turn()
    assert (scene.held(1, "bread"), scene.held(1)) == (1, 0)
