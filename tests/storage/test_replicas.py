"""Replicas on real servers that lag, die, freeze, or are not what they should be.

The replica of MariaDB follows its primary's log by itself, as that of PostgreSQL does.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import pytest
import sqlalchemy as sa

from headgate.domain.campaign import Control
from headgate.ports.ledger import CampaignLedger
from headgate.ports.replicas import ReplicaAway
from headgate.services.book import Ledgers
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import LEDGER_ID
from headgate.storage.sql.leases import SqlLeases
from headgate.storage.sql.replicas import Replicas
from headgate.storage.sql.schema import counter, lease
from headgate.storage.sql.server_claims import ServerClaims
from headgate.storage.sql.standing import REPLICA_LAG_S, Primary, Renewed
from tests.fakes import HandClock, SeededEntropy
from tests.replication import frozen, mariadb_pair, postgresql_pair
from tests.servers import Server
from tests.storage.house import House

KINDS = ("postgresql", "mariadb")
TTL_MS = 5_000
RENEWED = Renewed("keeper", TTL_MS)
PATIENCE_S = 0.5
WITHIN_S = 30.0
PRIMARY = 0


class Pair(NamedTuple):
    """A primary and a replica that follows it; `stop` and `follow` are statements for the replica."""

    primary: Server
    replica: Server
    stop: str
    follow: str


@pytest.fixture(scope="module")
def postgresql_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with postgresql_pair(tmp_path_factory.mktemp("pair")) as (primary, replica):
        yield Pair(primary, replica, "SELECT pg_wal_replay_pause()", "SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module")
def mariadb_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with mariadb_pair(tmp_path_factory.mktemp("pair")) as (primary, replica):
        yield Pair(primary, replica, "STOP SLAVE SQL_THREAD", "START SLAVE SQL_THREAD")


def eventually(what: str, probe: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not probe():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class World:
    """A ledger with a replica, read through `replicas`; a read says where it was, PRIMARY or the replica's number."""

    def __init__(self, pair: Pair, database: str) -> None:
        self.pair = pair
        self.url, self.copy_url = (sa.make_url(server.url).set(database=database) for server in pair[:2])
        self._admin = sa.create_engine(pair.primary.url, isolation_level="AUTOCOMMIT")
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {database}")
        self.house = House(self.url)
        self.leases = SqlLeases(self.house.engine, None)
        self.timer_s = 0.0
        self.held_against = Primary(self.house.engine, RENEWED, self.timer)
        self.said: list[tuple[int, str | None]] = []
        self.calls: list[int] = []
        self._opened: list[Replicas[tuple[int, Ledgers]]] = []
        self.renew()
        eventually("the replica has the ledger", self._arrived)
        self.replicas = self.open(self.copy_url)

    def timer(self) -> float:
        """The clock that never steps, which the test can move on."""
        return time.monotonic() + self.timer_s

    def open(self, *places: sa.URL, since_ms: int | None = None) -> Replicas[tuple[int, Ledgers]]:
        must_be = self.held_against.must_be_recent
        if since_ms is not None:
            must_be = lambda copy: self.held_against.must_have_come_to(since_ms, copy)  # noqa: E731
        made = Replicas(
            self._read_with(PRIMARY, self.house.engine), self.held_against, must_be,
            lambda *change: self.said.append(change), self.timer,
        )  # fmt: skip
        for number, place in enumerate(places, 1):
            made.add(place, PATIENCE_S, lambda engine, number=number: self._read_with(number, engine))  # type: ignore[misc]  # a default in a lambda
        self._opened.append(made)
        return made

    def _read_with(self, number: int, engine: sa.Engine) -> tuple[int, Ledgers]:
        return number, Ledgers(SqlCampaigns(engine, HandClock()), ServerClaims(engine, None, SeededEntropy()))

    def _arrived(self) -> bool:
        engine = sa.create_engine(self.copy_url)
        try:
            with engine.connect() as connection:
                return connection.scalar(sa.select(sa.func.count()).select_from(lease)) == 1
        except sa.exc.DBAPIError:
            return False
        finally:
            engine.dispose()

    def renew(self) -> None:
        """What a keeper does twice a second."""
        assert self.leases.acquire(RENEWED.name, "keeper 1", TTL_MS)

    @contextlib.contextmanager
    def keeper(self) -> Iterator[None]:
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(0.1):
                self.renew()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def check(self, replicas: Replicas[Any] | None = None) -> bool:
        """Whether a look finds that a replica may be read from; its own time to wait is not kept."""
        replicas = replicas or self.replicas
        for replica in replicas._replicas:
            replica._away_until_s = 0.0
            replica.check(self.held_against.ask)
        return any(replicas.in_use().values())

    def read(self, replicas: Replicas[Any] | None = None) -> tuple[int, Control]:
        """Where the campaign was read from, and its control there."""

        def call(source: tuple[int, Ledgers]) -> tuple[int, Control]:
            self.calls.append(source[0])
            return source[0], cast("CampaignLedger", source[1].campaigns).campaign("masks").control

        return (replicas or self.replicas).read(call)

    def pause(self) -> None:
        self.house.steer("pause", Control.ACTIVE, Control.PAUSED)

    def at_replica(self, statement: str) -> None:
        engine = sa.create_engine(self.pair.replica.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    @contextlib.contextmanager
    def held_up(self) -> Iterator[None]:
        """Meanwhile the replica answers, and takes nothing over."""
        self.at_replica(self.pair.stop)
        try:
            yield
        finally:
            self.at_replica(self.pair.follow)

    def close(self) -> None:
        for replicas in self._opened:
            replicas.close()
        self.house.close()
        self._admin.dispose()


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(f"{request.param}_servers")
    return found


@pytest.fixture
def world(pair: Pair, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(pair, f"t{abs(hash(request.node.nodeid))}")
    yield made
    made.close()


both = pytest.mark.parametrize("pair", KINDS, indirect=True)
on_postgresql = pytest.mark.parametrize("pair", ["postgresql"], indirect=True)


@both
def test_a_replica_that_follows_is_read_from(world: World) -> None:
    world.renew()
    eventually("it is found good", world.check)
    assert world.read() == (1, Control.ACTIVE)
    assert world.said == [(1, None)]


@both
def test_what_a_replica_shows_may_be_old_up_to_a_limit_and_no_older(world: World) -> None:
    world.renew()
    eventually("it is found good", world.check)
    with world.held_up():
        # What comes now stays on its way.
        world.pause()
        world.renew()
        assert world.read() == (1, Control.ACTIVE)
        # Nobody looks at it meanwhile; the read itself finds out.
        world.timer_s += REPLICA_LAG_S
        world.replicas._replicas[0]._checked_s = world.timer()
        assert world.read() == (PRIMARY, Control.PAUSED)
        assert world.calls[-2:] == [1, PRIMARY]
        (_, why) = world.said[-1]
        assert why is not None
        assert "s behind the primary, and 2 s are allowed; look whether replication runs" in why
        assert world.read() == (PRIMARY, Control.PAUSED)
        assert world.calls[-1:] == [PRIMARY]
        eventually("whoever looks at it finds out too", lambda: not world.check())
    world.timer_s = 0.0
    world.renew()
    eventually("it comes back by itself", world.check)
    assert world.read() == (1, Control.PAUSED)


@both
def test_without_a_keeper_nobody_can_tell_and_the_primary_is_read(world: World) -> None:
    world.renew()
    eventually("it is found good", world.check)
    held = world.leases.acquire(RENEWED.name, "keeper 1", TTL_MS)
    assert held is not None
    world.leases.release(held)
    eventually("the release has arrived", lambda: not world.check())
    assert world.read()[0] == PRIMARY
    assert world.said[-1] == (1, "no keeper renews its lease, so that nobody can tell how far it is behind")


@both
def test_a_command_reads_what_was_committed_before_it_or_goes_to_the_primary(world: World) -> None:
    world.renew()
    eventually("it is found good", world.check)
    with world.held_up():
        world.pause()
        world.timer_s += 2
        # Recent enough for a look, and not what a command may read.
        reports = world.open(world.copy_url, since_ms=world.held_against.ask().standing.now_ms)
        world.renew()
        assert not world.check(reports)
        assert world.read(reports) == (PRIMARY, Control.PAUSED)
    world.renew()
    eventually("it has come to where the primary was", lambda: world.check(reports))
    assert world.read(reports) == (1, Control.PAUSED)


@both
def test_a_replica_that_dies_is_left_out_and_comes_back_by_itself(world: World) -> None:
    with world.keeper():
        world.replicas.start()
        eventually("it is found good", lambda: world.read()[0] == 1)
        world.pair.replica.kill()
        world.calls.clear()
        assert [world.read()[0] for _ in range(50)] == [PRIMARY] * 50
        assert world.calls.count(1) <= 1, "only a read may find that it is dead, and once"
        world.pair.replica.again()
        eventually("it comes back", lambda: world.read()[0] == 1)
    assert [why is None for _, why in world.said] == [True, False, True]


@both
def test_a_frozen_replica_holds_one_read_for_its_patience_and_nobody_after_it(world: World) -> None:
    with world.keeper():
        world.replicas.start()
        eventually("it is found good", lambda: world.read()[0] == 1)
        with frozen(world.pair.replica):
            world.calls.clear()
            began_s = time.monotonic()
            assert world.read()[0] == PRIMARY
            took_s = time.monotonic() - began_s
            # One statement was waited for; not a connection, nor as long as the kernel would.
            assert took_s < PATIENCE_S + 5, f"a reader waited for {took_s:.1f} s"
            assert [world.read()[0] for _ in range(200)] == [PRIMARY] * 200
            assert world.calls.count(1) <= 1
        eventually("it comes back", lambda: world.read()[0] == 1)


@both
def test_a_server_that_never_answers_is_waited_for_by_nobody_who_reads(world: World) -> None:
    with frozen(world.pair.replica):
        world.replicas.start()
        assert [world.read()[0] for _ in range(50)] == [PRIMARY] * 50
        assert 1 not in world.calls
    with world.keeper():
        eventually("it is found when it answers", lambda: world.read()[0] == 1)


@both
def test_a_primary_named_as_a_replica_is_read_from_and_takes_no_writes_there(world: World) -> None:
    replicas = world.open(world.url)
    world.renew()
    assert world.check(replicas)
    assert world.read(replicas) == (1, Control.ACTIVE)
    _, ledgers = replicas._replicas[0].reader
    with pytest.raises(ReplicaAway, match=r"(?i)read[- ]only"):
        cast("CampaignLedger", ledgers.campaigns).control(
            "masks", Control.PAUSED, expected=Control.ACTIVE, command="pause", actor="test"
        )
    assert world.house.campaigns.campaign("masks").control is Control.ACTIVE


@both
def test_a_server_with_another_ledger_or_schema_is_left_out(world: World) -> None:
    replicas = world.open(world.url)
    world.renew()
    assert world.check(replicas)
    with world.house.engine.begin() as connection:
        own = connection.execute(sa.select(counter.c.value).where(counter.c.name == LEDGER_ID)).scalar_one()
        connection.execute(sa.update(counter).where(counter.c.name == LEDGER_ID).values(value=own + 1))
    assert world.read(replicas)[0] == PRIMARY
    assert world.said[-1] == (
        1, "it holds another ledger than the primary; look at its URL in ledger.replica_urls"
    )  # fmt: skip
    with world.house.engine.begin() as connection:
        connection.execute(sa.update(counter).where(counter.c.name == LEDGER_ID).values(value=own))
    assert world.check(replicas)
    world.house.sql("UPDATE alembic_version SET version_num = '9999'")
    assert world.read(replicas)[0] == PRIMARY
    why = world.said[-1][1]
    assert why is not None
    assert "it has schema 9999, and this program reads" in why


@both
def test_a_server_without_a_ledger_is_left_out_and_named_without_its_password(world: World) -> None:
    replicas = world.open(world.copy_url.set(database="nowhere", password="sekret"))
    world.timer_s += 5
    assert not world.check(replicas)
    assert world.read(replicas)[0] == PRIMARY
    why = str(world.said)
    assert "ledger.replica_urls" in why
    assert "sekret" not in why


@on_postgresql
def test_a_read_that_replication_cancels_is_answered_by_the_primary(world: World) -> None:
    world.renew()
    eventually("it is found good", world.check)

    def call(source: tuple[int, Ledgers]) -> int:
        number, ledgers = source
        if number != PRIMARY:
            # As a standby does it to who reads what the next change removes.
            with ledgers.claims._engine.connect() as connection:  # type: ignore[attr-defined]  # it is ServerClaims
                connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        return number

    assert world.replicas.read(call) == PRIMARY
