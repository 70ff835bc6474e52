"""The judges of this folder can fail: damage that is planted is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.client import Api, Reply, confirmed, sane
from tests.acceptance.ledger import Ledger, Watch
from tests.acceptance.product import Server, eventually, opened


@pytest.fixture(scope="module")
def claimed(server: Server, api: Api) -> str:
    """A campaign in which one of two units is claimed."""
    slug = opened(server, api, "judged", (("central", 2),))
    confirmed(api.claim(slug, api.session()))
    return slug


@pytest.fixture
def copied(server: Server, claimed: str, tmp_path: Path) -> tuple[Ledger, str]:
    """A copy of the ledger, to be damaged at will."""
    with (
        closing(sqlite3.connect(server.data / "ledger.db")) as source,
        closing(sqlite3.connect(tmp_path / "ledger.db")) as copy,
    ):
        source.backup(copy)
    ledger = Ledger(tmp_path)
    ledger.check(claimed)
    return ledger, claimed


def damage(ledger: Ledger, sql: str, *parameters: str) -> None:
    with closing(sqlite3.connect(ledger.path)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("PRAGMA foreign_keys = OFF")
        done = db.execute(sql, parameters)
        db.commit()
        assert done.rowcount, f"nothing was damaged by {sql}"


OF = "campaign_id = (SELECT id FROM campaign WHERE slug = ?)"
DAMAGE = {
    "a unit vanished": f"UPDATE pool SET remaining = remaining - 1 WHERE {OF}",
    "a unit appeared": f"UPDATE pool SET remaining = remaining + 1 WHERE {OF}",
    "a confirmed claim is gone": f"DELETE FROM claim WHERE {OF}",
    "a claim returned without its unit": f"UPDATE claim SET status = 'cancelled' WHERE {OF}",
    "a pool is oversold": f"UPDATE pool SET capacity = 0, remaining = -1 WHERE {OF}",
    "a status nobody knows": f"UPDATE claim SET status = 'lost' WHERE {OF}",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_to_the_ledger_is_found(copied: tuple[Ledger, str], what: str) -> None:
    ledger, slug = copied
    damage(ledger, DAMAGE[what], slug)
    with pytest.raises(AssertionError):
        ledger.check(slug)


def test_two_claims_of_one_person_are_found(copied: tuple[Ledger, str]) -> None:
    ledger, slug = copied
    with closing(sqlite3.connect(ledger.path)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(claim)")]
    unique = {"id": "'00' || id", "seq": "seq + 1000000", "ordinal": "ordinal + 1", "code": "'00' || code"}
    values = ", ".join(unique.get(column, column) for column in columns)
    damage(ledger, f"INSERT INTO claim ({', '.join(columns)}) SELECT {values} FROM claim WHERE {OF}", slug)
    damage(ledger, f"UPDATE pool SET remaining = remaining - 1 WHERE {OF}", slug)
    with pytest.raises(AssertionError, match="one person holds 2"):
        ledger.check(slug)
    ledger.check(slug, per_person=2)


def test_a_count_that_is_wrong_for_a_moment_is_seen(copied: tuple[Ledger, str]) -> None:
    ledger, slug = copied
    with Watch(ledger, slug) as watch:
        eventually("the watch counts", lambda: watch.counts)
        damage(ledger, DAMAGE["a unit vanished"], slug)
        eventually("the watch notices", lambda: watch.wrong)
        damage(ledger, DAMAGE["a unit appeared"], slug)
    ledger.check(slug)
    with pytest.raises(AssertionError, match="did not add up"):
        watch.judge()


FAULTS: dict[str, Callable[[], Reply]] = {
    "500": lambda: Reply(500, {}, b""),
    "503 without an outcome": lambda: Reply(503, {"retry-after": "1"}, b"{}"),
    "503 that hides a fault": lambda: Reply(503, {"retry-after": "1"}, b'{"outcome":"unknown"}'),
    "503 without Retry-After": lambda: Reply(503, {}, b'{"outcome":"overloaded"}'),
    "stack trace": lambda: Reply(400, {}, b"Traceback (most recent call last)"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_server_error_is_not_sane(what: str) -> None:
    with pytest.raises(AssertionError):
        sane(FAULTS[what](), what)
