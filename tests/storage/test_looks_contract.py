"""What every place promises where looks are shared: the simulated one, one server, and a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from headgate.domain.campaign import Campaign, Control, Kind, Mode, Pool, Verification
from headgate.lab.simulation.looks import SimulatedStore
from headgate.ports.gate import GateAway
from headgate.ports.ledger import PoolStock
from headgate.ports.looks import Head, Parts, SharedLooks
from headgate.storage.redis.address import GateAddress, parse
from headgate.storage.redis.client import close, connect
from headgate.storage.redis.looks import FRESH_S, SHOWN_S, TURN_S, RedisLooks
from tests.fakes import SeededEntropy
from tests.servers import free_port

MOMENT_S = 0.05


def campaign(number: int, version: int = 1) -> Campaign:
    pools = (Pool(10 * number, "a", {"en": "A", "zh": "甲"}, 5), Pool(10 * number + 1, "b", {}, 7))
    return Campaign(
        number, f"c{number}", Kind.FIRST_COME, {"en": "Masks", "zh": "口罩"}, 1_000, 9_000, 28_800, 2, True,
        Verification.PHONE, Control.PAUSED, version, pools, mode=Mode.QUEUED,
    )  # fmt: skip


def stock(number: int, version: int = 1) -> list[PoolStock]:
    return [PoolStock(number, 10 * number, 3, version), PoolStock(number, 10 * number + 1, 0, version)]


def parts(*numbers: int, version: int = 1) -> Parts:
    campaigns = [campaign(number, version) for number in numbers]
    return Parts(campaigns, {number: stock(number, version) for number in numbers})


HEAD = Head({1: 1, 2: 1}, {1: 2, 2: 2})


class Store(Protocol):
    """One place, and time in the hands of the test."""

    def looks(self, ledger: int = 1, program: str = "1") -> SharedLooks: ...

    def pass_time(self, seconds: float) -> None: ...

    def erase(self) -> None: ...

    def lose_part(self) -> None:
        """One of those that the head names."""


class Simulated:
    def __init__(self) -> None:
        self._now_s = 100.0
        self._store = SimulatedStore(lambda: self._now_s)

    def looks(self, ledger: int = 1, program: str = "1") -> SharedLooks:
        assert (ledger, program) == (1, "1")
        return self._store.looks()

    def pass_time(self, seconds: float) -> None:
        self._now_s += seconds

    def erase(self) -> None:
        self._store.flush()

    def lose_part(self) -> None:
        del self._store.contents.stock[1]


class Real:
    """Time passes by what keys have left of theirs."""

    def __init__(self, address: GateAddress) -> None:
        self._address = address
        self._entropy = SeededEntropy()
        self._made: list[SharedLooks] = []
        self.client: Any = connect(address)

    def looks(self, ledger: int = 1, program: str = "1") -> SharedLooks:
        self._made.append(RedisLooks(self._address, lambda: ledger, self._entropy, program))
        return self._made[-1]

    def _keys(self, name: str) -> list[bytes]:
        return list(self.client.scan_iter(f"headgate:*:{name}"))

    def pass_time(self, seconds: float) -> None:
        for key in (*self._keys("head"), *self._keys("turn")):
            self.client.pexpire(key, self.client.pttl(key) - round(seconds * 1000))

    def erase(self) -> None:
        self.client.flushall()

    def lose_part(self) -> None:
        (key,) = self._keys("parts")
        self.client.hdel(key, "stock:1")

    def close(self) -> None:
        for looks in self._made:
            looks.close()
        close(self.client)


@pytest.fixture(params=["simulated", "valkey", "cluster"])
def store(request: pytest.FixtureRequest, gate_of: Callable[[str], GateAddress]) -> Iterator[Store]:
    if request.param == "simulated":
        yield Simulated()
        return
    made = Real(gate_of(request.param))
    yield made
    made.close()


def test_one_has_the_turn_and_what_it_shows_others_get(store: Store) -> None:
    first, second = store.looks(), store.looks()
    assert first.ask() == (None, True)
    assert second.ask() == (None, False)
    assert first.post(HEAD, parts(1, 2), 0.0)
    assert second.ask() == (HEAD, False)
    assert second.fetch([2, 1], [1]) == ([campaign(2), campaign(1)], {1: stock(1)})
    assert second.fetch([], []) == ([], {})
    assert first.ask() == (HEAD, False)


def test_what_is_not_fresh_is_shown_while_one_looks_again_and_then_no_more(store: Store) -> None:
    first, second, third = store.looks(), store.looks(), store.looks()
    first.ask()
    first.post(HEAD, parts(1, 2), 0.0)
    store.pass_time(FRESH_S + MOMENT_S)
    assert second.ask() == (HEAD, True)
    assert third.ask() == (HEAD, False)
    newer = Head({1: 2, 2: 1}, {1: 4, 2: 2})
    assert second.post(newer, parts(1, version=2), 0.0)
    assert third.ask() == (newer, False)
    assert third.fetch([1, 2], [1, 2]) == ([campaign(1, 2), campaign(2)], {1: stock(1, 2), 2: stock(2)})
    store.pass_time(SHOWN_S)
    assert third.ask() == (None, True)


def test_how_long_the_look_took_counts_as_its_age(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Shown for longer, because on a busy machine half a second may be over before the next question.
    shown_s = 20.0
    for module in ("headgate.lab.simulation.looks", "headgate.storage.redis.looks"):
        monkeypatch.setattr(f"{module}.SHOWN_S", shown_s)
    monkeypatch.setattr("headgate.storage.redis.looks._FRESH_UNTIL_MS", round((shown_s - FRESH_S) * 1000))
    first, second = store.looks(), store.looks()
    first.ask()
    assert first.post(HEAD, parts(1, 2), FRESH_S + MOMENT_S)
    assert second.ask() == (HEAD, True)
    assert not second.post(HEAD, parts(1, 2), shown_s), "it would be too old at once"


def test_whoever_takes_too_long_has_lost_the_turn(store: Store) -> None:
    slow, second = store.looks(), store.looks()
    slow.ask()
    store.pass_time(TURN_S + MOMENT_S)
    assert second.ask() == (None, True)
    assert not slow.post(HEAD, parts(1, 2), 0.0)
    assert slow.ask() == (None, False)
    assert second.post(HEAD, parts(1, 2), 0.0)
    assert slow.ask() == (HEAD, False)


def test_what_was_erased_in_between_is_not_half_shown(store: Store) -> None:
    first, second = store.looks(), store.looks()
    first.ask()
    first.post(HEAD, parts(1, 2), 0.0)
    store.pass_time(FRESH_S + MOMENT_S)
    assert second.ask() == (HEAD, True)
    store.erase()
    assert not second.post(Head({1: 2, 2: 1}, {1: 4, 2: 2}), parts(1, version=2), 0.0)
    assert first.ask() == (None, True)


def test_a_head_of_which_a_part_is_missing_is_not_shown_again(store: Store) -> None:
    first, second = store.looks(), store.looks()
    first.ask()
    first.post(HEAD, parts(1, 2), 0.0)
    store.lose_part()
    assert second.fetch([1], [1, 2]) is None
    assert second.ask() == (None, True)


@pytest.mark.parametrize("store", ["valkey", "cluster"], indirect=True)
def test_ledgers_and_programs_have_nothing_to_do_with_each_other(store: Store) -> None:
    first, other_ledger, other_program = store.looks(), store.looks(ledger=2), store.looks(program="2")
    for looks in (first, other_ledger, other_program):
        assert looks.ask() == (None, True)
    first.post(HEAD, parts(1, 2), 0.0)
    for looks in (other_ledger, other_program):
        assert looks.ask() == (None, False)
        assert looks.fetch([1], []) is None


def test_a_place_that_is_away_is_away() -> None:
    nowhere = RedisLooks(parse(f"redis://127.0.0.1:{free_port()}"), lambda: 1, SeededEntropy(), "1")
    for call in (nowhere.ask, lambda: nowhere.fetch([1], []), lambda: nowhere.post(HEAD, parts(1), 0.0)):
        with pytest.raises(GateAway):
            call()
    store = SimulatedStore(lambda: 0.0)
    store.away = True
    with pytest.raises(GateAway):
        store.looks().ask()
