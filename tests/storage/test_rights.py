"""Accounts that may not do what is needed, half a ledger, and URLs whose parts are somebody's secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from headgate.ports.ledger import LedgerDamaged, LedgerUnavailable
from headgate.storage.sql.engine import exists, open_engine, upgrade
from headgate.storage.sql.server_claims import ServerClaims
from headgate.storage.sql.servers import shown
from tests.fakes import SeededEntropy
from tests.storage.house import House

SERVERS = ("postgresql", "mariadb", "mysql")
on_servers = pytest.mark.parametrize("place", SERVERS, indirect=True)
REMEDY = "give the account 'guest' all rights on the tables of its database"


@pytest.fixture
def guest(place: sa.URL) -> Iterator[sa.URL]:
    """An account that may look at what is there when it is asked for, and at nothing else."""
    engine = sa.create_engine(place, isolation_level="AUTOCOMMIT")
    postgresql = place.get_backend_name() == "postgresql"
    who = "guest" if postgresql else "guest@localhost"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE USER {who}")
        if postgresql:
            connection.exec_driver_sql("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO guest")
        else:
            connection.exec_driver_sql(f"GRANT SELECT ON {place.database}.* TO {who}")
    yield place.set(username="guest", password="")
    with engine.connect() as connection:
        if postgresql:
            connection.exec_driver_sql("DROP OWNED BY guest")
        connection.exec_driver_sql(f"DROP USER {who}")
    engine.dispose()


@on_servers
def test_an_account_that_may_only_look_is_told_what_it_needs(place: sa.URL, guest: sa.URL) -> None:
    house = House(place)
    engine = open_engine(guest)
    with pytest.raises(LedgerUnavailable, match=REMEDY):
        upgrade(engine)
    engine.dispose()
    claims = ServerClaims(open_engine(guest), house.clock, SeededEntropy())
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match=f"nothing was written: {REMEDY}"):
            claims.confirm([house.request(1)], [True])
    assert house.campaigns.tally("masks").confirmed == 0
    claims.close()
    house.close()


@on_servers
def test_an_account_that_may_make_no_tables_is_told_what_it_needs(guest: sa.URL) -> None:
    assert not exists(guest)
    engine = open_engine(guest)
    with pytest.raises(LedgerUnavailable, match=REMEDY):
        upgrade(engine)
    engine.dispose()


@on_servers
def test_nothing_is_written_to_find_out_who_may(place: sa.URL) -> None:
    house = House(place)
    with house.engine.connect() as connection:
        before = [connection.execute(sa.select(sa.func.count()).select_from(sa.table("counter"))).scalar_one()]
        upgrade(house.engine)
        after = [connection.execute(sa.select(sa.func.count()).select_from(sa.table("counter"))).scalar_one()]
    assert before == after
    assert house.campaigns.tally("masks").available == 7
    house.close()


def test_half_a_ledger_is_named(place: Path | sa.URL) -> None:
    house = House(place)
    house.sql("DROP TABLE alembic_version")
    with pytest.raises(LedgerDamaged, match="restore it from a backup, or name an empty database"):
        upgrade(house.engine)
    house.close()


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_password_among_the_options_is_shown_nowhere(place: sa.URL) -> None:
    gone = place.set(port=1, query={"password": "sekret", "sslpassword": "hush", "application_name": "mine"})
    with pytest.raises(LedgerUnavailable, match="application_name=mine") as found:
        exists(gone)
    assert not [word for word in ("sekret", "hush") if word in str(found.value) + shown(gone)]


@pytest.mark.parametrize("place", ["postgresql", "mariadb", "mysql"], indirect=True)
def test_an_option_that_does_not_exist_is_named(place: sa.URL) -> None:
    with pytest.raises(LedgerUnavailable, match=r"cannot be reached: .*colour.*options in its URL"):
        exists(place.set(query={"colour": "blue"}))


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_options_of_the_url_hold_beside_ours(place: sa.URL) -> None:
    admin = sa.create_engine(place, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("CREATE SCHEMA mine")
    options = "-c search_path=mine -c synchronous_commit=off"
    engine = open_engine(place.set(query={"options": options}))
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    with admin.connect() as connection:
        found = connection.exec_driver_sql("SELECT schemaname FROM pg_tables WHERE tablename = 'claim'").scalars().all()
    assert found == ["mine"]
    engine.dispose()
    admin.dispose()
