"""Statements that go out together on a real PostgreSQL: answers in their order, and what a failure among them does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.pq import ExecStatus, TransactionStatus

from headgate.storage.sql.bounded import BoundedConnection
from headgate.storage.sql.engine import open_engine
from headgate.storage.sql.exchange import Said, checked, exchange
from headgate.storage.sql.postgresql_statements import _rows

ADD = "SELECT $1::int + 1"
DIVIDE = "SELECT 1 / $1::int"


@pytest.fixture
def connection(place_on: Callable[[str], Path | sa.URL]) -> Iterator[BoundedConnection]:
    url = place_on("postgresql")
    assert isinstance(url, sa.URL)
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with BoundedConnection.connect(text) as opened:
        yield opened


def numbers(connection: BoundedConnection, *said: Said) -> list[Any]:
    return [_rows(connection, answer, tuple)[0][0] for answer in exchange(connection, said)]


def state(connection: BoundedConnection) -> TransactionStatus:
    return connection.info.transaction_status


def test_answers_come_in_the_order_of_the_statements(connection: BoundedConnection) -> None:
    assert numbers(connection, Said(ADD, ("1",)), Said("SELECT 'x'"), Said(ADD, ("41",))) == [2, "x", 42]
    assert len(connection.prepared) == 2
    assert numbers(connection, Said(ADD, ("7",))) == [8]
    assert len(connection.prepared) == 2, "what is prepared is prepared once"
    assert exchange(connection, []) == []


def test_it_is_part_of_the_transaction_that_is_open_and_begins_one_where_there_is_none(
    connection: BoundedConnection,
) -> None:
    exchange(connection, [Said("CREATE TABLE kept (n int)"), Said("INSERT INTO kept VALUES (1)")])
    assert state(connection) is TransactionStatus.INTRANS
    connection.commit()
    assert state(connection) is TransactionStatus.IDLE
    exchange(connection, [Said("INSERT INTO kept VALUES (2)")])
    connection.rollback()
    assert numbers(connection, Said("SELECT count(*) FROM kept")) == [1]
    connection.rollback()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    assert numbers(connection, Said("SHOW transaction_isolation")) == ["repeatable read"]
    connection.rollback()
    connection.autocommit = True
    exchange(connection, [Said("INSERT INTO kept VALUES (3)")])
    assert state(connection) is TransactionStatus.IDLE
    assert numbers(connection, Said("SELECT count(*) FROM kept")) == [2]


def test_behind_a_failure_nothing_is_done_and_the_connection_can_be_used(connection: BoundedConnection) -> None:
    first, failed, behind = exchange(connection, [Said(ADD, ("1",)), Said(DIVIDE, ("0",)), Said(ADD, ("2",))])
    assert _rows(connection, first, tuple) == [(2,)]
    with pytest.raises(psycopg.errors.DivisionByZero):
        checked(failed)
    assert behind.status == ExecStatus.PIPELINE_ABORTED
    with pytest.raises(psycopg.Error):
        checked(behind)
    assert state(connection) is TransactionStatus.INERROR
    connection.rollback()
    assert numbers(connection, Said(DIVIDE, ("1",)), Said(ADD, ("2",))) == [1, 3]


def test_a_statement_that_could_not_be_prepared_is_prepared_when_it_can_be(connection: BoundedConnection) -> None:
    counted = Said("SELECT count(*) FROM later")
    failed, behind = exchange(connection, [counted, Said(ADD, ("1",))])
    with pytest.raises(psycopg.errors.UndefinedTable):
        checked(failed)
    assert behind.status == ExecStatus.PIPELINE_ABORTED
    connection.rollback()
    exchange(connection, [Said("CREATE TABLE later (n int)")])
    assert numbers(connection, counted, Said(ADD, ("1",))) == [0, 2]


def test_what_is_prepared_outlives_rollbacks_and_whatever_else_is_said(connection: BoundedConnection) -> None:
    for _ in range(3):
        assert numbers(connection, Said(ADD, ("1",))) == [2]
        for _ in range(10):
            connection.execute("SELECT %s::int", (1,))
        connection.rollback()
    connection.execute("CREATE TABLE gone (n int)")
    connection.execute("DROP TABLE gone")
    assert numbers(connection, Said(ADD, ("1",))) == [2]


@pytest.mark.parametrize(("steady", "planned"), [(True, [0, 9]), (False, [5, 4])])
def test_statements_that_always_go_by_keys_are_planned_once(
    place_on: Callable[[str], Path | sa.URL], steady: bool, planned: list[int]
) -> None:
    engine = open_engine(place_on("postgresql"), steady=steady)
    with engine.connect() as opened:
        driver = opened.connection.driver_connection
        assert isinstance(driver, BoundedConnection)
        for _ in range(9):
            exchange(driver, [Said(ADD, ("1",))])
        plans = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1"
        assert list(_rows(driver, exchange(driver, [Said(plans, (ADD,))])[0], tuple)[0]) == planned
    engine.dispose()


def test_more_than_fits_into_the_buffers_of_both_sides(connection: BoundedConnection) -> None:
    large = "x" * 3_000_000
    said = [Said("SELECT $1::text || $1::text", (large,)) for _ in range(4)]
    assert [len(text) for text in numbers(connection, *said)] == [6_000_000] * 4


def test_a_connection_that_breaks_is_closed(connection: BoundedConnection) -> None:
    with pytest.raises(psycopg.OperationalError):
        exchange(connection, [Said("SELECT pg_terminate_backend(pg_backend_pid())"), Said(ADD, ("1",))])
    assert connection.closed
