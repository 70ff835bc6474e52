"""Slow statements are said, whoever sent them, without what they were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from headgate.ports.ledger import LedgerUnavailable
from headgate.storage.sql import exchange as exchanging
from headgate.storage.sql import slowness
from headgate.storage.sql.bounded import BoundedConnection
from headgate.storage.sql.engine import open_engine
from headgate.storage.sql.exchange import Said, exchange
from headgate.storage.sql.slowness import EVERY_S, SHOWN_CHARS, Slowness

SLEEP = {"postgresql": "pg_sleep(:long)", "mariadb": "sleep(:long)", "mysql": "sleep(:long)"}
SLOW_S = 0.3
"""Longer than a statement takes that is not to be slow, on a machine that is busy."""
LONG_S = 0.6

servers = pytest.mark.parametrize("place", list(SLEEP), indirect=True)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has said nothing yet, and for which a moment is slow."""
    told = Slowness()
    for module in (slowness, exchanging):
        monkeypatch.setattr(module, "SLOWNESS", told)
        monkeypatch.setattr(module, "SLOW_S", SLOW_S)


def slow(logs: Any) -> list[Any]:
    return [log for log in logs if log["event"] == "slow_statement"]


@servers
def test_a_slow_statement_is_said_without_the_password(place: sa.URL) -> None:
    engine = open_engine(place.set(password="" if place.get_backend_name() != "postgresql" else place.password))
    with engine.connect() as connection, capture_logs() as logs:
        connection.exec_driver_sql("SELECT 1")
        connection.execute(sa.text("SELECT\n" + SLEEP[place.get_backend_name()]), {"long": LONG_S})
    (said,) = slow(logs)
    assert said["seconds"] >= LONG_S
    assert said["statement"].startswith("SELECT")
    assert "\n" not in said["statement"]
    assert str(LONG_S) not in said["statement"], "what a statement was given may be about a person"
    assert str(place.port) in said["ledger"]
    engine.dispose()


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_one_that_fails_is_said_too(place: sa.URL) -> None:
    engine = open_engine(place)
    with engine.connect() as connection, capture_logs() as logs:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(LONG_S * 1000)}")
        with pytest.raises(LedgerUnavailable, match="statement timeout"):
            connection.exec_driver_sql("SELECT pg_sleep(10)")
        connection.rollback()
        with pytest.raises(sa.exc.ProgrammingError):
            connection.exec_driver_sql("SELECT nothing")
    assert [log["statement"] for log in slow(logs)] == ["SELECT pg_sleep(10)"]
    engine.dispose()


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_statements_that_go_together_are_said_together(place: sa.URL) -> None:
    engine = open_engine(place.set(password="sekret"))
    with engine.connect() as connection, capture_logs() as logs:
        driver = connection.connection.driver_connection
        assert isinstance(driver, BoundedConnection)
        exchange(driver, [Said("SELECT 1")])
        exchange(driver, [Said("SELECT 1"), Said("SELECT pg_sleep($1)", (str(LONG_S),))])
    (said,) = slow(logs)
    assert said["statement"] == "SELECT 1; SELECT pg_sleep($1)"
    assert said["ledger"] == place.set(drivername="postgresql", password=None).render_as_string()
    assert "sekret" not in str(logs)
    engine.dispose()


def test_an_embedded_ledger_too(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "ledger.db")
    counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT max(i) FROM n"
    with engine.connect() as connection, capture_logs() as logs:
        connection.exec_driver_sql(counting)
    assert [log["statement"] for log in slow(logs)] == [counting]
    engine.dispose()


def test_the_log_of_a_slow_ledger_is_bounded() -> None:
    now_s = [100.0]
    told = Slowness(lambda: now_s[0])
    with capture_logs() as logs:
        for _ in range(5):
            told.tell(1.0, "x", "SELECT " + "y" * 1_000)
        now_s[0] += EVERY_S
        told.tell(2.0, "x", "SELECT 2")
    assert [(log["seconds"], log["unsaid"], len(log["statement"])) for log in slow(logs)] == [
        (1.0, 0, SHOWN_CHARS), (2.0, 4, len("SELECT 2")),
    ]  # fmt: skip
