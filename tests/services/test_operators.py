from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import VerifyMismatchError

from headgate.ports.operators import Operator, OperatorExists, Role
from headgate.services.operators import (
    BUSY,
    FAILURES_PER_ADDRESS,
    FAILURES_PER_NAME,
    HASHING_MAX,
    PASSWORD_CHARS_MAX,
    PASSWORD_CHARS_MIN,
    WINDOW_S,
    WRONG,
    InvalidAccount,
    Operators,
    SignInRefused,
    generate_password,
)
from headgate.storage.sql import operations
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.operators import SqlOperators
from headgate.storage.sql.schema import operation
from tests.console.conftest import CHEAP, PASSWORD
from tests.fakes import HandClock, SeededEntropy

HOME = "203.0.113.1"


class WatchedHasher(PasswordHasher):
    """Remembers which hashes it verified, and lets a test step in."""

    def __init__(self) -> None:
        super().__init__(time_cost=CHEAP.time_cost, memory_cost=CHEAP.memory_cost, parallelism=CHEAP.parallelism)
        self.verified: list[str] = []
        self.during: Callable[[], object] = lambda: None

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:  # noqa: A002 -- the library's name
        self.verified.append(hash if isinstance(hash, str) else hash.decode())
        self.during()
        return super().verify(hash, password)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    opened = open_engine(tmp_path / "ledger.db")
    upgrade(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def ledger(engine: sa.Engine, clock: HandClock) -> SqlOperators:
    return SqlOperators(engine, clock)


@pytest.fixture
def hasher() -> WatchedHasher:
    return WatchedHasher()


@pytest.fixture
def operators(ledger: SqlOperators, clock: HandClock, hasher: WatchedHasher) -> Operators:
    made = Operators(ledger, clock, SeededEntropy(), hasher)
    made.add("mei", "operator", PASSWORD, actor="test")
    return made


def fail(operators: Operators, times: int, name: str = "mei", address: str = HOME) -> list[Any]:
    return [operators.sign_in(name, "wrong", address) for _ in range(times)]


def test_an_added_operator_signs_in(operators: Operators, clock: HandClock) -> None:
    signed_in = operators.sign_in("mei", PASSWORD, HOME)
    assert isinstance(signed_in, Operator)
    assert (signed_in.name, signed_in.role, signed_in.created_at_ms) == ("mei", Role.OPERATOR, clock.ms)
    assert signed_in == operators.find("mei")


def test_operators_are_listed_by_name(operators: Operators) -> None:
    operators.add("ada", "admin", actor="test")
    operators.add("zoe", "viewer", actor="test")
    assert [(item.name, item.role) for item in operators.operators()] == [
        ("ada", Role.ADMIN), ("mei", Role.OPERATOR), ("zoe", Role.VIEWER),
    ]  # fmt: skip
    assert operators.count() == 3


def test_a_generated_password_is_returned_once_and_works(operators: Operators) -> None:
    password = operators.add("ada", "admin", actor="test")
    assert isinstance(operators.sign_in("ada", password, HOME), Operator)
    assert operators.add("zoe", "viewer", actor="test") != password


def test_a_generated_password_is_readable_and_has_100_bits() -> None:
    entropy = SeededEntropy()
    passwords = [generate_password(entropy) for _ in range(100)]
    assert len(set(passwords)) == 100
    for password in passwords:
        assert [len(group) for group in password.split("-")] == [4] * 5
    symbols = set("".join(passwords)) - {"-"}
    assert len(symbols) == 32
    assert not symbols & set("ilou" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_passwords_are_stored_as_argon2id_with_recommended_cost(ledger: SqlOperators, clock: HandClock) -> None:
    operators = Operators(ledger, clock, SeededEntropy())
    operators.add("ada", "admin", PASSWORD, actor="test")
    found = operators.find("ada")
    assert found is not None
    cost = extract_parameters(found.password_hash)
    assert cost.type is Type.ID
    # RFC 9106, section 4, second recommended option.
    assert (cost.memory_cost, cost.time_cost, cost.parallelism, cost.salt_len) == (65_536, 3, 4, 16)
    assert extract_parameters(operators._nobodys_hash) == cost
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(operators._nobodys_hash, PASSWORD)


@pytest.mark.parametrize("name", ["", "A", "Mei", "-a", "a-", "a" * 33, "a b", "a\n", "é", "a@b", "a/b", "' or 1=1 --"])
def test_names_that_cannot_be_used_are_named(operators: Operators, name: str) -> None:
    with pytest.raises(InvalidAccount) as raised:
        operators.add(name, "viewer", actor="test")
    assert repr(name) in str(raised.value)
    assert operators.count() == 1


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a.b_c-d", "a" * 32])
def test_names_that_can_be_used(operators: Operators, name: str) -> None:
    assert operators.add(name, "viewer", actor="test")


def test_a_role_that_does_not_exist_is_named_with_those_that_do(operators: Operators) -> None:
    with pytest.raises(InvalidAccount, match=r"'root'.*admin, operator, viewer"):
        operators.add("ada", "root", actor="test")


@pytest.mark.parametrize("chars", [0, PASSWORD_CHARS_MIN - 1, PASSWORD_CHARS_MAX + 1])
def test_a_password_of_a_bad_length_is_refused_without_showing_it(operators: Operators, chars: int) -> None:
    with pytest.raises(InvalidAccount, match=f"{chars} characters") as raised:
        operators.add("ada", "viewer", "§" * chars, actor="test")
    assert "§" not in str(raised.value)


def test_a_name_is_given_once(operators: Operators, engine: sa.Engine) -> None:
    with pytest.raises(OperatorExists, match="'mei'"):
        operators.add("mei", "admin", actor="test")
    found = operators.find("mei")
    assert found is not None
    assert found.role is Role.OPERATOR
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(operation)) == 1


def test_an_addition_is_in_the_audit_trail_without_the_hash(operators: Operators, engine: sa.Engine) -> None:
    operators.add("ada", "admin", actor="cli:root")
    with engine.connect() as connection:
        row = connection.execute(sa.select(operation).order_by(operation.c.id.desc())).first()
        assert operations.first_broken(connection) is None
    assert row is not None
    assert (row.actor, row.action, row.detail) == ("cli:root", "operator_add", {"name": "ada", "role": "admin"})
    assert "argon2" not in json.dumps(row.detail)


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(operators: Operators) -> None:
    assert operators.sign_in("mei", "wrong", HOME) == WRONG
    assert operators.sign_in("nobody", PASSWORD, HOME) == WRONG
    assert operators.sign_in("", "", HOME) == WRONG
    assert operators.sign_in("Not A Name\0", PASSWORD, HOME) == WRONG


def test_an_unknown_name_costs_one_verification_of_the_same_price(operators: Operators, hasher: WatchedHasher) -> None:
    costs = []
    for name in ("mei", "nobody", "", "Not A Name"):
        hasher.verified.clear()
        operators.sign_in(name, "wrong", HOME)
        assert len(hasher.verified) == 1, name
        costs.append(extract_parameters(hasher.verified[0]))
    assert costs == [costs[0]] * 4


def test_a_hash_that_cannot_be_read_lets_nobody_in(ledger: SqlOperators, operators: Operators) -> None:
    ledger.add("ada", Role.ADMIN, "plain text", actor="test")
    assert operators.sign_in("ada", "plain text", HOME) == WRONG


def test_failures_of_a_name_are_bounded_and_hashing_stops(
    operators: Operators, hasher: WatchedHasher, clock: HandClock
) -> None:
    assert fail(operators, FAILURES_PER_NAME) == [WRONG] * FAILURES_PER_NAME
    hasher.verified.clear()
    assert operators.sign_in("mei", PASSWORD, "198.51.100.7") == SignInRefused(retry_after_s=WINDOW_S)
    clock.forward(WINDOW_S - 0.5)
    assert operators.sign_in("mei", PASSWORD, HOME) == SignInRefused(retry_after_s=1)
    assert hasher.verified == []
    clock.forward(0.5)
    assert isinstance(operators.sign_in("mei", PASSWORD, HOME), Operator)


def test_failures_of_an_address_are_bounded_for_that_address_alone(operators: Operators) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        assert fail(operators, 1, f"name{number}") == [WRONG]
    assert operators.sign_in("mei", PASSWORD, HOME) == SignInRefused(retry_after_s=WINDOW_S)
    assert isinstance(operators.sign_in("mei", PASSWORD, "203.0.113.2"), Operator)


def test_names_that_are_none_share_one_count(operators: Operators) -> None:
    for number in range(FAILURES_PER_NAME):
        assert fail(operators, 1, f"No Name {number}") == [WRONG]
    assert operators.sign_in("Another No Name", "x", "198.51.100.7") == SignInRefused(retry_after_s=WINDOW_S)


def test_signing_in_costs_no_tries(operators: Operators) -> None:
    fail(operators, FAILURES_PER_NAME - 1)
    for _ in range(FAILURES_PER_ADDRESS + 1):
        assert isinstance(operators.sign_in("mei", PASSWORD, HOME), Operator)
    assert fail(operators, 1) == [WRONG]
    assert operators.sign_in("mei", PASSWORD, HOME) == SignInRefused(retry_after_s=WINDOW_S)


def test_parallel_tries_count_like_serial_ones(operators: Operators, hasher: WatchedHasher) -> None:
    together = threading.Barrier(16)

    def attempt() -> object:
        together.wait()
        return [operators.sign_in("mei", "wrong", HOME) for _ in range(5)]

    with ThreadPoolExecutor(16) as pool:
        for attempts in [pool.submit(attempt) for _ in range(16)]:
            attempts.result()
    assert len(hasher.verified) == FAILURES_PER_NAME


def test_only_so_many_passwords_are_hashed_at_a_time(operators: Operators, hasher: WatchedHasher) -> None:
    started, release = threading.Semaphore(0), threading.Event()

    def wait() -> None:
        started.release()
        assert release.wait(30)

    hasher.during = wait
    with ThreadPoolExecutor(HASHING_MAX) as pool:
        running = [pool.submit(operators.sign_in, f"name{number}", "x", HOME) for number in range(HASHING_MAX)]
        for _ in range(HASHING_MAX):
            assert started.acquire(timeout=30)
        assert fail(operators, FAILURES_PER_NAME + 1) == [BUSY] * (FAILURES_PER_NAME + 1)
        release.set()
        assert [attempt.result() for attempt in running] == [WRONG] * HASHING_MAX
    hasher.during = lambda: None
    # Those that were turned away at once were no tries.
    assert isinstance(operators.sign_in("mei", PASSWORD, HOME), Operator)


def test_a_ledger_that_fails_lets_nobody_in_and_keeps_no_place_taken(
    operators: Operators, ledger: SqlOperators, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_name: str) -> None:
        raise OSError("no ledger")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "find", broken)
        for number in range(HASHING_MAX + 1):
            with pytest.raises(OSError, match="no ledger"):
                operators.sign_in(f"name{number}", PASSWORD, HOME)
    assert isinstance(operators.sign_in("mei", PASSWORD, HOME), Operator)


def test_tries_take_bounded_memory_and_forget_the_oldest(
    ledger: SqlOperators, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.services.operators.REMEMBERED_MAX", 3)
    operators = Operators(ledger, clock, SeededEntropy(), CHEAP)
    for number in range(10):
        operators.sign_in(f"name{number}", "wrong", f"203.0.113.{number}")
    assert list(operators._by_name._windows) == ["name7", "name8", "name9"]
    assert list(operators._by_address._windows) == ["203.0.113.7", "203.0.113.8", "203.0.113.9"]


def test_a_clock_that_is_set_back_locks_nobody_out(operators: Operators, clock: HandClock) -> None:
    fail(operators, FAILURES_PER_NAME)
    clock.forward(-3600)
    assert isinstance(operators.sign_in("mei", PASSWORD, HOME), Operator)
