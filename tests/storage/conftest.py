"""Ledgers on real engines, each test with a database of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from headgate.storage.redis.address import GateAddress, parse
from headgate.storage.redis.client import connect
from tests.mysql_servers import mariadb, mysql
from tests.servers import Server, ValkeyCluster, postgresql, valkey, valkey_cluster

ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with postgresql(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mariadb(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture
def place_on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Path | sa.URL]]:
    """Where a ledger on that engine is, before it has any table."""
    with contextlib.ExitStack() as stack:

        def place(engine: str) -> Path | sa.URL:
            if engine == "sqlite":
                return tmp_path / "ledger.db"
            server: Server = request.getfixturevalue(f"{engine}_server")
            return stack.enter_context(_database(server, engine, f"t{abs(hash(request.node.nodeid))}"))

        yield place


@contextlib.contextmanager
def _database(server: Server, engine: str, name: str) -> Iterator[sa.URL]:
    admin = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield sa.make_url(server.url).set(database=name)
    with admin.connect() as connection:
        forced = " WITH (FORCE)" if engine == "postgresql" else ""
        connection.exec_driver_sql(f"DROP DATABASE {name}{forced}")
    admin.dispose()


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, place_on: Callable[[str], Path | sa.URL]) -> Path | sa.URL:
    """The same on each engine."""
    return place_on(request.param)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with valkey(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_cluster_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with valkey_cluster(tmp_path_factory.mktemp("servers")) as cluster:
        yield cluster


SHARED_GATES = ("valkey", "cluster")


@pytest.fixture
def gate_of(request: pytest.FixtureRequest) -> Callable[[str], GateAddress]:
    """Where an empty gate of that kind is."""

    def empty(kind: str) -> GateAddress:
        fixture = "valkey_server" if kind == "valkey" else "valkey_cluster_servers"
        address = parse(request.getfixturevalue(fixture).url)
        client = connect(address)
        client.flushall()
        client.close()
        return address

    return empty


@pytest.fixture(params=SHARED_GATES)
def gate(request: pytest.FixtureRequest, gate_of: Callable[[str], GateAddress]) -> GateAddress:
    """Where an empty gate is that nodes share."""
    return gate_of(request.param)
