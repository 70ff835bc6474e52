"""Ledgers on servers that are wrong, and commits that were not answered."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from headgate.domain.claim import Claim, Granted, Status
from headgate.ports.ledger import LedgerDamaged, LedgerInDoubt, LedgerUnavailable, LedgerUnusable
from headgate.storage.sql import servers as sql_servers
from headgate.storage.sql.engine import exists, open_engine, upgrade
from headgate.storage.sql.server_claims import ServerClaims, claimants_between
from headgate.storage.sql.server_statements import Minted, Taken
from headgate.storage.sql.servers import server_url
from tests.fakes import SeededEntropy
from tests.mysql_servers import mysql
from tests.servers import free_port, postgresql
from tests.storage.house import House, claim_of

SERVERS = ("postgresql", "mariadb", "mysql")
on_servers = pytest.mark.parametrize("place", SERVERS, indirect=True)


# Not the level READ COMMITTED, with which a transaction may begin.
_COMMIT = re.compile(rb"COMMIT(?!TED)")


class Cut:
    """Stands between a program and its server, and cuts the connection at the first COMMIT that it is told to.

    `at` is what it looks for in place of COMMIT.
    """

    def __init__(self, target: tuple[str, int], at: re.Pattern[bytes] = _COMMIT) -> None:
        self._target = target
        self._at = at
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.when: str | None = None
        """`before`: the server never sees the COMMIT; `after`: the program never sees its answer."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            lost = threading.Event()
            answering = threading.Thread(target=self._answer, args=(server, client, lost), daemon=True)
            answering.start()
            while content := client.recv(65_536):
                if self._at.search(content) and self.when is not None:
                    when, self.when = self.when, None
                    lost.set()
                    answering.join()
                    if when == "after":
                        server.sendall(content)
                        server.settimeout(5)
                        # Its answer says that it is done; nobody else hears it.
                        server.recv(65_536)
                    return
                server.sendall(content)

    @staticmethod
    def _answer(server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        try:
            while not lost.is_set():
                server.settimeout(0.05)
                try:
                    content = server.recv(65_536)
                except TimeoutError:
                    continue
                if not content:
                    return
                if not lost.is_set():
                    client.sendall(content)
        except OSError:
            return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def cut(place: sa.URL) -> Iterator[Cut]:
    made = Cut((place.host or "", place.port or 0))
    yield made
    made.close()


@on_servers
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_was_not_answered_is_in_doubt_and_settled_by_reading(place: sa.URL, cut: Cut, when: str) -> None:
    house = House(place)
    # What is encrypted cannot be looked into.
    plain = {"ssl_disabled": "1"} if place.get_backend_name() == "mysql" else {}
    claims = ServerClaims(open_engine(place.set(port=cut.port, query=plain)), house.clock, SeededEntropy())
    request = house.request(1)
    claims.claims_of([(request.campaign_id, request.person)])
    cut.when = when
    with pytest.raises(LedgerInDoubt, match="whether the last commit happened is not known"):
        claims.confirm([request], [True])
    (decision,) = claims.confirm([request], [True]).decisions
    assert isinstance(decision, Granted)
    assert decision.repeated is (when == "after")
    assert (house.campaigns.tally("masks").confirmed, house.campaigns.tally("masks").ok) == (1, True)
    claims.close()
    house.close()


@on_servers
def test_a_connection_that_the_server_ended_costs_one_answer_at_most(place: sa.URL) -> None:
    house = House(place)
    house.ask(house.request(1))
    with house.engine.connect() as connection:
        if place.get_backend_name() == "postgresql":
            own = "SELECT pg_backend_pid()"
            others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            end = "SELECT pg_terminate_backend({})"
        else:
            own = "SELECT connection_id()"
            others = "SELECT id FROM information_schema.processlist WHERE db = database()"
            end = "KILL {}"
        mine = connection.exec_driver_sql(own).scalar_one()
        for number in connection.exec_driver_sql(others).scalars().all():
            if number != mine:
                connection.exec_driver_sql(end.format(number))
    if place.get_backend_name() != "postgresql":
        # Its driver does not see before it asks that the server has ended a connection.
        with pytest.raises(LedgerUnavailable, match="nothing was written"):
            house.ask(house.request(2))
    assert isinstance(house.ask(house.request(2))[0], Granted)
    assert house.campaigns.tally("masks").confirmed == 2
    house.close()


@on_servers
def test_the_row_that_everybody_locks_is_waited_for_and_no_longer(
    place: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sql_servers._POSTGRESQL_OPTIONS, "lock_timeout", 100)
    monkeypatch.setattr(sql_servers, "_MYSQL_INIT", sql_servers._MYSQL_INIT.replace("timeout = 3", "timeout = 1"))
    house = House(place)
    with house.engine.begin() as holder:
        holder.exec_driver_sql("SELECT value FROM counter FOR UPDATE")
        with pytest.raises(LedgerUnavailable, match="nothing was written"):
            house.ask(house.request(1))
    assert isinstance(house.ask(house.request(1))[0], Granted)
    house.close()


@on_servers
def test_the_servers_clock_is_read_to_the_millisecond(place: sa.URL) -> None:
    engine = open_engine(place)
    with engine.connect() as connection:
        sql_servers.server_now_ms(connection)
        before_ms = time.time_ns() // 1_000_000
        now_ms = sql_servers.server_now_ms(connection)
        assert before_ms <= now_ms <= time.time_ns() // 1_000_000
    engine.dispose()


@on_servers
def test_a_server_that_cannot_be_reached_is_named_without_its_password(place: sa.URL) -> None:
    gone = place.set(port=free_port(), password="sekret")
    with pytest.raises(LedgerUnavailable, match="cannot be reached") as found:
        exists(gone)
    assert "sekret" not in str(found.value)
    assert str(gone.port) in str(found.value)


@pytest.mark.parametrize("tls", ["ON", "OFF"])
def test_a_password_reaches_mysql_as_its_default_wants_it(tmp_path_factory: pytest.TempPathFactory, tls: str) -> None:
    """Encrypted, or with the key of the server where it speaks no TLS."""
    with mysql(tmp_path_factory.mktemp("passwords"), f"--ssl={tls}") as server:
        root = open_engine(sa.make_url(server.url))
        with root.begin() as connection:
            connection.exec_driver_sql("CREATE DATABASE headgate")
            connection.exec_driver_sql("CREATE USER headgate IDENTIFIED WITH caching_sha2_password BY 'sekret'")
            connection.exec_driver_sql("GRANT ALL ON headgate.* TO headgate")
        root.dispose()
        place = root.url.set(username="headgate", password="sekret", database="headgate")
        engine = open_engine(place)
        upgrade(engine)
        engine.dispose()
        with pytest.raises(LedgerUnavailable, match="Access denied") as found:
            exists(place.set(password="wrong"))
        assert "wrong" not in str(found.value)


@on_servers
def test_a_database_that_is_not_there_is_named(place: sa.URL) -> None:
    with pytest.raises(LedgerUnavailable, match="nowhere"):
        exists(place.set(database="nowhere"))


@on_servers
def test_a_server_of_an_older_version_is_refused(place: sa.URL, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(place)
    for name in sql_servers.VERSIONS_WANTED:
        monkeypatch.setitem(sql_servers.VERSIONS_WANTED, name, (99,))
    with pytest.raises(LedgerUnusable, match="at least 99 is needed"):
        upgrade(engine)
    engine.dispose()


def test_a_server_that_does_not_sync_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with postgresql(tmp_path_factory.mktemp("careless"), fsync="off") as server:
        engine = open_engine(sa.make_url(server.url))
        with pytest.raises(LedgerUnusable, match="fsync = off: a confirmed claim would be lost"):
            upgrade(engine)
        engine.dispose()


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_ledger_that_takes_no_writes_any_more_says_what_it_is(place: sa.URL) -> None:
    house = House(place)
    with house.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {place.database} SET default_transaction_read_only = on")
    house.engine.dispose()
    claims = ServerClaims(open_engine(place), house.clock, SeededEntropy())
    with pytest.raises(LedgerUnavailable, match="name the primary instead"):
        claims.confirm([house.request(1)], [True])
    claims.close()
    engine = open_engine(place)
    with pytest.raises(LedgerUnusable, match="may be a replica"):
        upgrade(engine)
    engine.dispose()
    house.close()


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg"), ("mysql://u@h/d", "mysql+pymysql"),
        ("mariadb://u@h/d", "mariadb+pymysql"),
    ],
)  # fmt: skip
def test_a_url_need_not_name_the_driver(given: str, driver: str) -> None:
    assert server_url(given).drivername == driver


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
@pytest.mark.parametrize("counted", [None, 0, 80], ids=["never counted", "counted when empty", "counted when small"])
def test_what_is_planned_while_tables_are_small_goes_by_keys(place: sa.URL, counted: int | None) -> None:
    """A plan is kept, and an hour later the tables are large."""
    house = House(place)
    house.campaigns.topup("masks", "b", 100_000, actor="test")
    house.sql("ALTER TABLE claim SET (autovacuum_enabled = off)")
    if counted is not None:
        house.ask(*(house.request(person, "b") for person in range(counted)))
        with house.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    engine = open_engine(place, steady=True)
    claims = ServerClaims(engine, house.clock, SeededEntropy())
    claims.confirm([house.request(person, "b") for person in range(100, 150)], [True] * 50)
    claims.pulse({house.request(1, "b").pool_id})
    # It has been kept for the next pulse, and was the only one before.
    with claims._pulsing or engine.connect() as connection:
        prepared = connection.exec_driver_sql(
            "SELECT name, coalesce(cardinality(parameter_types), 0) FROM pg_prepared_statements ORDER BY name"
        ).all()
        plans = [
            "\n".join(connection.exec_driver_sql(f"EXPLAIN EXECUTE {name}{_nulls(count)}").scalars())
            for name, count in prepared
        ]
    assert len(plans) == 6, prepared
    for plan in plans:
        assert not re.search("Seq Scan on (claim|pool|campaign)|(Hash|Merge) .*Join|Materialize", plan), plan
        scans = re.findall(r"Index Scan using \w+ on (?:claim|pool|campaign)\b[^\n]*\n *(\w+ \w+)", plan)
        assert set(scans) <= {"Index Cond"}, plan
    (records,) = (plan for plan in plans if "Index Scan using claim_place" in plan)
    assert "Index Cond: ((campaign_id = asking.campaign_id) AND (person = asking.person))" in records, records
    assert "Filter" not in records, records
    claims.close()
    house.close()


def _nulls(count: int) -> str:
    return f"({', '.join(['NULL'] * count)})" if count else ""


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_who_claimed_last_is_found_without_reading_those_before(place: sa.URL) -> None:
    house = House(place)
    house.sql("ALTER TABLE claim SET (autovacuum_enabled = off)")
    house.sql(
        "INSERT INTO claim (seq, id, campaign_id, pool_id, person, ordinal, status, code, created_at)"
        " SELECT number, 'id' || number, 1, 1, decode(lpad(to_hex(number), 32, '0'), 'hex'), 1, 'confirmed',"
        " 'code' || number, 0 FROM generate_series(1, 3072) AS number"
    )
    with house.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        question = claimants_between(1, 3_000, 3_072, 2_000)
        written = str(question.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {written}").scalars())
    assert "Index Cond: ((seq > 3000) AND (seq <= 3072))" in plan, plan
    assert "claim_place" not in plan, plan
    house.close()


@on_servers
def test_a_program_of_an_older_schema_writes_nothing_any_more_and_goes_on_reading(place: sa.URL) -> None:
    house = House(place)
    claim = house.ask(house.request(1))[0]
    house.sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerUnavailable, match="has schema 9999, and this program writes"):
        house.ask(house.request(2))
    with pytest.raises(LedgerUnavailable, match="upgrade this node"):
        house.campaigns.topup("masks", "a", 1, actor="test")
    assert isinstance(claim, Granted)
    assert house.claims_of(1) == [claim.claim]
    assert (house.campaigns.tally("masks").confirmed, house.campaigns.tally("masks").capacity) == (1, 7)
    house.close()


@on_servers
def test_a_program_of_an_older_schema_says_so_where_the_newer_one_changed_what_it_reads(place: sa.URL) -> None:
    house = House(place)
    request = house.request(1)
    house.sql("UPDATE alembic_version SET version_num = '9999'")
    house.sql("ALTER TABLE pool RENAME COLUMN code TO name")
    with pytest.raises(LedgerUnavailable, match="has schema 9999, and this program writes"):
        house.ask(request)
    house.close()


@on_servers
def test_what_a_pool_has_not_got_is_not_committed(place: sa.URL) -> None:
    """As if somebody had changed the stock between reading and writing, in spite of the lock."""
    house = House(place)
    claims = house.claims
    assert isinstance(claims, ServerClaims)
    asked = house.request(1)
    made = Claim("id", 1, "central", 1, Status.CONFIRMED, "code", 0)
    with claims._engine.connect() as connection, pytest.raises(LedgerDamaged, match="stock changed"):
        claims._statements.commit(connection, Minted([made], [asked]), [Taken(asked.pool_id, 3)])
    assert house.claims_of(1) == []
    assert house.campaigns.tally("masks").available == 7
    assert claims.pulse(()) == (0, {})
    claim_of(house.ask(asked)[0])
    house.close()
