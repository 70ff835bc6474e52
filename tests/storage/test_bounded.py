"""Answers of PostgreSQL that never come, or come with a warning."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from headgate.ports.ledger import LedgerInDoubt, LedgerUnavailable
from headgate.storage.sql.bounded import BoundedConnection
from headgate.storage.sql.engine import open_engine
from headgate.storage.sql.exchange import Said, checked, exchange
from headgate.storage.sql.postgresql_statements import _meaning
from headgate.storage.sql.servers import server_url
from tests.servers import Server, postgresql

ANSWER_S = 0.5


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(BoundedConnection, "answer_s", ANSWER_S)
    with postgresql(tmp_path_factory.mktemp("database")) as server:
        yield server


@pytest.fixture
def engine(database: Server) -> Iterator[sa.Engine]:
    made = open_engine(server_url(database.url))
    with made.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE thing (number int)")
    yield made
    made.dispose()


def numbers(engine: sa.Engine) -> list[int]:
    with engine.connect() as connection:
        return [*connection.exec_driver_sql("SELECT number FROM thing").scalars()]


def nothing() -> None:
    """What is done where nothing is."""


def write(engine: sa.Engine, *, before: Callable[[], object] = nothing, after: Callable[[], object] = nothing) -> None:
    with engine.begin() as connection:
        before()
        connection.exec_driver_sql("INSERT INTO thing VALUES (1)")
        after()


def write_in_one_exchange(engine: sa.Engine) -> None:
    """As a batch is written: the commit goes out with it."""
    with engine.connect() as connection, _meaning(connection, committing=True) as driver:
        for answer in exchange(driver, [Said("INSERT INTO thing VALUES (1)")], commit=True):
            checked(answer)


def test_a_frozen_server_is_given_up(database: Server, engine: sa.Engine) -> None:
    with pytest.raises(LedgerUnavailable, match=r"no answer for 0\.5 s; nothing was written"):
        write(engine, before=partial(database.signal, signal.SIGSTOP))
    database.signal(signal.SIGCONT)
    assert numbers(engine) == []


def test_a_commit_that_is_not_answered_is_in_doubt(database: Server, engine: sa.Engine) -> None:
    with pytest.raises(LedgerInDoubt, match=r"no answer for 0\.5 s; whether"):
        write(engine, after=partial(database.signal, signal.SIGSTOP))
    database.signal(signal.SIGCONT)
    assert set(numbers(engine)) <= {1}, "another connection tells what became of it"


def test_a_commit_that_no_standby_has_is_in_doubt_for_as_long_as_it_waits(engine: sa.Engine) -> None:
    wait_for_a_standby_that_is_not_there(engine)
    for writes in (write, write_in_one_exchange):
        with pytest.raises(LedgerInDoubt, match=r"no answer for 0\.5 s"):
            writes(engine)


def test_a_commit_whose_wait_for_the_standby_was_cancelled_is_in_doubt(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedConnection, "answer_s", 30)
    wait_for_a_standby_that_is_not_there(engine)
    waits = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

    def cancel() -> None:
        # Each look is a transaction of its own: one sees the same activity as long as it lasts.
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            while not connection.exec_driver_sql(waits).all():
                pass

    for writes in (write, write_in_one_exchange):
        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(LedgerInDoubt, match="canceling wait for synchronous replication"):
            writes(engine)
        thread.join()
    assert numbers(engine) == [1, 1], "this server has it"


def wait_for_a_standby_that_is_not_there(engine: sa.Engine) -> None:
    plain = engine.execution_options(isolation_level="AUTOCOMMIT")
    with plain.connect() as connection:
        connection.exec_driver_sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
        while connection.exec_driver_sql("SHOW synchronous_standby_names").scalar_one() != "nobody":
            pass
        # Commits wait only once the process that makes checkpoints has read it as well, which it does before each.
        connection.exec_driver_sql("CHECKPOINT")


def test_a_warning_before_the_commit_casts_no_doubt(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DO $$ BEGIN RAISE WARNING 'of something else'; END $$")
        connection.exec_driver_sql("INSERT INTO thing VALUES (2)")
    assert numbers(engine) == [2]


def test_what_was_closed_meanwhile_is_seen_also_where_many_files_are_open(engine: sa.Engine) -> None:
    """A worker has thousands of connections, and numbers above 1,023 are too high for select()."""
    numbers(engine)
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = {}"
    with engine.connect() as connection:
        driver: BoundedConnection = connection.connection.driver_connection  # type: ignore[assignment]
        assert not driver.is_over()
        limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, 2_000), most))
        with contextlib.ExitStack() as files:
            for _ in range(1_100):
                files.enter_context(Path("/dev/null").open())
            with engine.connect() as other:
                high: BoundedConnection = other.connection.driver_connection  # type: ignore[assignment]
                assert high.fileno() > 1_023
                assert not high.is_over()
                connection.exec_driver_sql(end.format(high.info.backend_pid))
                assert high.is_over()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    assert numbers(engine) == [], "the pool opens another in its place"
