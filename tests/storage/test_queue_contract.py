"""What every queue promises: the simulated one, one server, and a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from headgate.domain.claim import QUEUED
from headgate.domain.outcome import CLOSED, KEY_REUSED, SOLD_OUT
from headgate.ports.queue import QueueState, Taken, Which
from headgate.storage.redis.address import GateAddress
from tests.storage.queue_bench import (
    CAMPAIGN,
    NOTHING,
    PENDING,
    Bench,
    RedisBench,
    SimulatedBench,
    granted,
    persons,
    put,
    request,
    settle,
    state,
    take,
)


@pytest.fixture(params=["simulated", "valkey", "cluster"])
def bench(
    request: pytest.FixtureRequest, gate_of: Callable[[str], GateAddress], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    made: Bench = SimulatedBench() if request.param == "simulated" else RedisBench(gate_of(request.param), monkeypatch)
    yield made
    made.close()


def test_whoever_asked_waits_and_nobody_else(bench: Bench) -> None:
    assert put(bench, request(1), request(2)) == [QUEUED, QUEUED]
    assert [state(bench, number) for number in (1, 2, 3)] == [PENDING, PENDING, NOTHING]
    assert state(bench, 1, CAMPAIGN + 1) == NOTHING


def test_they_are_handed_out_in_order_once_and_as_they_were_asked(bench: Bench) -> None:
    asked = [request(1, 5), request(2, 6, key="k"), request(3, 5)]
    put(bench, *asked)
    first, second = bench.consumer("first"), bench.consumer("second")
    taken = take(first, limit=2)
    assert persons(taken) == [1, 2]
    assert taken.length == 3
    assert 0 <= taken.age_s < 60
    assert persons(take(second)) == [3]
    assert persons(take(first)) == []
    assert [waiting.request.pool_id for waiting in taken.waiting] == [5, 6]
    assert taken.waiting[1].request == asked[1]


def test_a_request_without_a_key_is_given_one_of_its_own(bench: Bench) -> None:
    put(bench, request(1), request(1, 2), request(2))
    keys = [waiting.request.key_digest for waiting in take(bench.consumer("c")).waiting]
    assert len(set(keys)) == 3
    assert all(key is not None and len(key) == 16 for key in keys)


@pytest.mark.parametrize("key", ["", "k"])
def test_the_same_request_waits_once_however_often_it_is_sent(bench: Bench, key: str) -> None:
    assert put(bench, *[request(1, key=key)] * 30) == [QUEUED] * 30
    assert put(bench, request(1, key=key)) == [QUEUED]
    consumer = bench.consumer("c")
    taken = take(consumer)
    assert persons(taken) == [1]
    assert put(bench, request(1, key=key)) == [QUEUED], "taken, and not decided"
    assert take(consumer).length == 1
    settle(consumer, taken.waiting, granted())
    assert put(bench, request(1, key=key)) == [QUEUED]
    assert persons(take(consumer)) == [1], "decided, so this is another one"


def test_other_pools_keys_and_persons_are_other_requests(bench: Bench) -> None:
    assert put(bench, request(1), request(1, 2), request(1, key="k"), request(1, key="l"), request(2)) == [QUEUED] * 5
    assert persons(take(bench.consumer("c"))) == [1, 1, 1, 1, 2]


def test_a_key_with_another_body_is_refused_and_changes_nothing(bench: Bench) -> None:
    assert put(bench, request(1, key="k"), request(1, key="k", body="x")) == [QUEUED, KEY_REUSED]
    assert put(bench, request(1, key="k", body="x"), request(2, key="k", body="x")) == [KEY_REUSED, QUEUED]
    assert persons(take(bench.consumer("c"))) == [1, 2]


def test_a_claim_leaves_nothing_and_a_refusal_can_be_read(bench: Bench) -> None:
    put(bench, request(1), request(2), request(3, key="k"))
    consumer = bench.consumer("c")
    first, second, third = take(consumer).waiting
    assert state(bench, 1) == PENDING, "taken is not decided"
    consumer.settle(CAMPAIGN, [(first, granted()), (second, SOLD_OUT), (third, KEY_REUSED)])
    assert state(bench, 1) == NOTHING
    assert state(bench, 2) == QueueState(False, "sold_out", pool_id=1)
    assert state(bench, 3) == QueueState(False, "invalid", "key_reused", pool_id=1)
    for which in Which:
        assert take(consumer, which) == Taken([], 0, 0.0)


def test_whoever_asks_again_waits_and_is_told_of_no_older_refusal(bench: Bench) -> None:
    consumer = bench.consumer("c")
    put(bench, request(1))
    settle(consumer, take(consumer).waiting, SOLD_OUT)
    put(bench, request(1, 2))
    assert state(bench, 1) == PENDING
    settle(consumer, take(consumer).waiting, granted())
    assert state(bench, 1) == NOTHING


def test_whoever_has_several_requests_waits_until_the_last_is_decided(bench: Bench) -> None:
    put(bench, request(1), request(1, 2))
    consumer = bench.consumer("c")
    first, second = take(consumer).waiting
    settle(consumer, [first], SOLD_OUT)
    assert state(bench, 1) == PENDING
    settle(consumer, [second], CLOSED)
    assert state(bench, 1) == QueueState(False, "closed", pool_id=2)


def test_what_a_consumer_took_before_its_restart_is_its_own(bench: Bench) -> None:
    put(bench, *(request(number) for number in range(5)))
    assert persons(take(bench.consumer("one"), limit=3)) == [0, 1, 2]
    restarted, other = bench.consumer("one"), bench.consumer("two")
    assert persons(take(other, Which.OWN)) == []
    assert persons(take(restarted, Which.OWN, limit=2)) == [0, 1]
    own = take(restarted, Which.OWN)
    assert persons(own) == [0, 1, 2]
    settle(restarted, own.waiting, granted())
    assert persons(take(restarted, Which.OWN)) == []
    assert persons(take(restarted)) == [3, 4]


def test_what_a_dead_consumer_took_is_handed_to_another_after_a_while_and_not_before(bench: Bench) -> None:
    put(bench, *(request(number) for number in range(4)))
    dead, other = bench.consumer("dead"), bench.consumer("other")
    taken = take(dead, limit=3)
    assert persons(take(other, Which.ABANDONED)) == []
    bench.time_passes()
    assert persons(take(other, Which.ABANDONED, limit=2)) == [0, 1]
    again = take(other, Which.OWN)
    assert [waiting.place for waiting in again.waiting] == [waiting.place for waiting in taken.waiting[:2]]
    assert persons(take(other)) == [3]


def test_a_consumer_that_was_only_slow_settles_without_harm(bench: Bench) -> None:
    put(bench, request(1), request(2))
    slow, other = bench.consumer("slow"), bench.consumer("other")
    late = take(slow).waiting
    bench.time_passes()
    others = take(other, Which.ABANDONED).waiting
    other.settle(CAMPAIGN, [(others[0], granted()), (others[1], SOLD_OUT)])
    put(bench, request(2))
    slow.settle(CAMPAIGN, [(late[0], SOLD_OUT), (late[1], SOLD_OUT)])
    assert state(bench, 1) == NOTHING, "refused by somebody who came late, after the claim"
    assert state(bench, 2) == PENDING, "what they ask for now is another request"
    assert persons(take(other)) == [2]
    other.settle(CAMPAIGN, [(others[0], granted()), (others[1], SOLD_OUT)])
    assert state(bench, 2) == PENDING


def test_campaigns_have_nothing_to_do_with_each_other(bench: Bench) -> None:
    put(bench, request(1))
    put(bench, request(1, campaign=CAMPAIGN + 1), request(2, campaign=CAMPAIGN + 1))
    consumer = bench.consumer("c")
    assert take(consumer, campaign=CAMPAIGN + 1).length == 2
    settle(consumer, take(consumer).waiting, SOLD_OUT)
    assert state(bench, 1, CAMPAIGN + 1) == PENDING
    assert take(consumer, campaign=CAMPAIGN + 2) == Taken([], 0, 0.0)


def test_hundreds_at_once(bench: Bench) -> None:
    assert put(bench, *(request(number) for number in range(900))) == [QUEUED] * 900
    consumer = bench.consumer("c")
    taken = take(consumer, limit=512)
    assert persons(taken) == list(range(512))
    settle(consumer, taken.waiting, SOLD_OUT)
    assert take(consumer, limit=512).length == 388
    assert [state(bench, number).outcome for number in (0, 511, 512)] == ["sold_out", "sold_out", ""]
