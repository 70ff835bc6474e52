"""A limit that follows latency, on a ledger that is a formula: N claims in progress take N / speed seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from headgate.services.adaptive import PERMITS_MAX, PERMITS_MIN, START, STEP, TARGET_S, WINDOW_S, AdaptiveLimit

COMMIT_S = 0.004
"""What one batch takes at least."""


@dataclass
class Ledger:
    """`speed` in claims a second, `wanted` claims in progress if they are let in."""

    speed: float
    wanted: int = 1_000_000
    now_s: float = 0.0
    permits: int = START
    seen: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit = AdaptiveLimit(lambda: self.now_s, self.apply)

    def apply(self, permits: int) -> None:
        self.permits = permits
        self.seen.append(permits)

    @property
    def in_progress(self) -> int:
        return min(self.permits, self.wanted)

    @property
    def latency_s(self) -> float:
        return COMMIT_S + self.in_progress / self.speed

    def run(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            latency_s = self.latency_s
            # Two batches are under way at any time.
            self.now_s += latency_s / 2
            self.limit.measured(latency_s, self.in_progress)


@pytest.mark.parametrize("speed", [500, 2_000, 17_000])
def test_it_settles_where_claims_are_answered_in_time_and_no_place_is_left_empty(speed: float) -> None:
    ledger = Ledger(speed)
    ledger.run(60)
    best = (TARGET_S - COMMIT_S) * speed
    assert 0.8 * best <= ledger.permits <= best + STEP
    ledger.seen.clear()
    ledger.run(60)
    assert min(ledger.seen) >= 0.8 * best, "it never forgets what it has found"


def test_a_ledger_that_becomes_slow_is_asked_for_less_within_seconds() -> None:
    ledger = Ledger(17_000)
    ledger.run(60)
    ledger.speed /= 10
    ledger.run(8)
    assert ledger.latency_s <= 1.2 * TARGET_S
    ledger.speed *= 10
    ledger.run(30)
    assert ledger.permits > 1_000, "it is fast again, and nobody is told"


def test_a_limit_that_nobody_comes_near_stays() -> None:
    ledger = Ledger(17_000, wanted=50)
    ledger.run(60)
    assert ledger.permits == START


def test_it_stays_within_its_bounds() -> None:
    slow, fast = Ledger(1), Ledger(10_000_000)
    slow.run(4_000)
    fast.run(4_000)
    assert (slow.permits, fast.permits) == (PERMITS_MIN, PERMITS_MAX)


def test_one_slow_commit_costs_little() -> None:
    ledger = Ledger(17_000)
    ledger.run(60)
    before = ledger.permits
    ledger.now_s += WINDOW_S
    ledger.limit.measured(3.0, ledger.in_progress)
    assert 0.85 * before <= ledger.permits


def test_two_workers_come_to_share_a_ledger() -> None:
    """Whoever began with more gives up more."""
    now_s, permits = 0.0, {"first": 2_000, "second": START}
    limits = {
        name: AdaptiveLimit(lambda: now_s, lambda value, name=name: permits.__setitem__(name, value))  # type: ignore[misc]
        for name in permits
    }
    limits["first"]._permits = 2_000.0
    for _ in range(20_000):
        latency_s = COMMIT_S + sum(permits.values()) / 10_000
        now_s += latency_s / 2
        for name, limit in limits.items():
            limit.measured(latency_s, permits[name])
    assert sum(permits.values()) == pytest.approx((TARGET_S - COMMIT_S) * 10_000, rel=0.2)
    assert permits["first"] == pytest.approx(permits["second"], rel=0.2)
