"""A node with a replica of its ledger on PostgreSQL: who reads there, and what happens when it goes away."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import sqlalchemy as sa

from tests.acceptance.client import Api, confirmed, refused
from tests.acceptance.product import Ran, campaign_toml, eventually, free_port, run_cli
from tests.acceptance.product import Server as Node
from tests.replication import frozen, postgresql_pair
from tests.servers import Server as Database
from tests.servers import free_port as server_port

SLUG = "copied"
LOOKS = "sum(pool.version)"
"""In the statement by which a worker finds out that stock has changed, four times a second."""
COUNTS = "GROUP BY claim.status"
"""In the statement that counts a campaign again."""
EXPORTS = "ORDER BY claim.seq"


def plain(server: Database, database: str) -> str:
    url = sa.make_url(server.url).set(drivername="postgresql", database=database)
    return url.render_as_string(hide_password=False)


def run_at(server: Database, statement: str) -> None:
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


class House:
    """One node, a database of its own, and a replica of it; the servers write down what they are asked."""

    def __init__(self, directory: Path, servers: tuple[Database, Database], database: str) -> None:
        self.primary, self.replica = servers
        run_at(self.primary, f"CREATE DATABASE {database}")
        self.settings = {
            "HEADGATE_LEDGER__URL": plain(self.primary, database),
            "HEADGATE_LEDGER__REPLICA_URLS": plain(self.replica, database),
            "HEADGATE_SECRET_FILE": str(directory / "secret.key"),
        }
        self.cli_data = directory / "cli"
        self.file = directory / "campaign.toml"
        self.create(SLUG)
        self.node = Node(directory / "node", settings=self.settings)

    def create(self, slug: str) -> None:
        self.file.write_text(campaign_toml(slug, (("central", 100),)), encoding="utf-8")
        self.cli("campaign", "create", self.file).ok()

    def cli(self, *words: str | Path) -> Ran:
        return run_cli(*words, data=self.cli_data, settings=self.settings)

    @contextlib.contextmanager
    def held_up(self) -> Iterator[None]:
        run_at(self.replica, "SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            run_at(self.replica, "SELECT pg_wal_replay_resume()")

    def readers(self) -> float:
        """What the metrics say: processes of the node that read from the replica; -1 before there are any."""
        try:
            with urlopen(f"{self.node.console_url}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except URLError:
            return -1
        (value,) = [line.split()[-1] for line in lines if line.startswith('headgate_replica_readers{replica="1"}')]
        return float(value)

    def reads_there(self) -> bool:
        # Its one worker, and the console.
        return self.readers() == 2


def asked(database: Database, what: str) -> int:
    """How often a server was asked that."""
    return database.log().count(what)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Database]]:
    with postgresql_pair(tmp_path_factory.mktemp("pair"), log_statement="all") as pair:
        yield pair


@pytest.fixture
def house(tmp_path: Path, servers: tuple[Database, Database], request: pytest.FixtureRequest) -> Iterator[House]:
    made = House(tmp_path, servers, f"t{abs(hash(request.node.nodeid))}")
    yield made
    made.node.end()


@pytest.fixture
def api(house: House) -> Iterator[Api]:
    house.node.start()
    with Api(house.node.url) as client:
        eventually("the replica is read from", house.reads_there)
        yield client


def test_looks_and_counts_go_to_the_replica_and_what_one_holds_oneself_to_the_primary(house: House, api: Api) -> None:
    before = {server: (asked(server, LOOKS), asked(server, COUNTS)) for server in (house.primary, house.replica)}
    eventually("four more looks", lambda: asked(house.replica, LOOKS) >= before[house.replica][0] + 4)
    assert asked(house.primary, LOOKS) <= before[house.primary][0] + 1, "looks go to the primary as well"
    assert house.reads_there()
    eventually("a count", lambda: house.reads_there() and asked(house.replica, COUNTS) > before[house.replica][1])
    assert asked(house.primary, COUNTS) == before[house.primary][1]
    token = api.session()
    with house.held_up():
        held = confirmed(api.claim(SLUG, token))
        assert [claim["id"] for claim in api.mine(SLUG, token)] == [held["id"]], "one's own claim is seen at once"
        assert confirmed(api.claim(SLUG, token), status=200)["id"] == held["id"]
        assert api.cancel(SLUG, token, str(held["id"])).status_code == 200
        assert [claim["status"] for claim in api.mine(SLUG, token)] == ["cancelled"]


def test_a_replica_that_follows_no_more_hides_nothing_for_long(house: House, api: Api) -> None:
    with house.held_up():
        house.cli("campaign", "pause", SLUG).ok()
        refused(api.claim(SLUG, api.session()), 409, "paused")
        eventually("the node hears of it", lambda: api.phase(SLUG) == "paused", within_s=10)
        eventually("the metrics say so", lambda: house.readers() == 0)
        house.create("later")
        eventually("a new campaign is seen", lambda: api.phase("later") == "open", within_s=10)
        assert json.loads(house.cli("audit", SLUG, "--json").out)["ok"]
    eventually("it is read from again", house.reads_there)
    assert api.phase(SLUG) == "paused"
    assert api.phase("later") == "open"
    house.cli("campaign", "resume", SLUG).ok()
    eventually("the node hears of it from the replica", lambda: api.phase(SLUG) == "open", within_s=10)
    assert house.node.log().count("replica_left_out") == 2, "each of the two processes says it once"


def test_a_replica_that_dies_or_freezes_is_left_out_and_nobody_notices(house: House, api: Api) -> None:
    house.replica.kill()
    confirmed(api.claim(SLUG, api.session()))
    house.cli("campaign", "pause", SLUG).ok()
    eventually("the node hears of it", lambda: api.phase(SLUG) == "paused", within_s=10)
    eventually("the metrics say so", lambda: house.readers() == 0)
    assert house.node.ready()
    house.replica.again()
    eventually("it is read from again", house.reads_there)
    with frozen(house.replica):
        house.cli("campaign", "resume", SLUG).ok()
        eventually("the node hears of it", lambda: api.phase(SLUG) == "open", within_s=10)
        confirmed(api.claim(SLUG, api.session()))
        assert house.node.ready()
    eventually("it is read from again", house.reads_there)


def test_an_export_has_everything_that_was_committed_before_it(house: House, api: Api) -> None:
    people = [api.session() for _ in range(3)]
    for token in people:
        confirmed(api.claim(SLUG, token))
    at_primary, at_replica = asked(house.primary, EXPORTS), asked(house.replica, EXPORTS)
    rows = json.loads(house.cli("campaign", "results", SLUG, "--format", "json").ok().out)
    assert len(rows) == 3
    assert (asked(house.primary, EXPORTS), asked(house.replica, EXPORTS) > at_replica) == (at_primary, True)
    with house.held_up():
        confirmed(api.claim(SLUG, api.session()))
        rows = json.loads(house.cli("campaign", "results", SLUG, "--format", "json").ok().out)
        assert len(rows) == 4, "the export was made from a replica that lacks a claim"


def test_a_node_starts_without_its_replica_and_the_doctor_says_what_is_wrong(house: House) -> None:
    house.replica.kill()
    house.node.start()
    with Api(house.node.url) as api:
        confirmed(api.claim(SLUG, api.session()))
        eventually("it is said", lambda: "replica_left_out" in house.node.log())
    ports = {"HEADGATE_LISTEN": f"127.0.0.1:{free_port()}", "HEADGATE_CONSOLE__LISTEN": f"127.0.0.1:{free_port()}"}
    nowhere = sa.make_url(house.settings["HEADGATE_LEDGER__URL"]).set(port=server_port(), password="sekret")
    urls = [house.settings["HEADGATE_LEDGER__REPLICA_URLS"], nowhere.render_as_string(hide_password=False)]
    house.settings |= ports | {"HEADGATE_LEDGER__REPLICA_URLS": json.dumps(urls)}
    house.replica.again()

    def checks() -> dict[str, dict[str, str]]:
        ran = house.cli("doctor", "--json")
        assert "sekret" not in ran.out + ran.err
        return {check["name"]: check for check in ran.json()["checks"]}

    eventually("it follows", lambda: checks()["replica 1"]["verdict"] == "ok")
    found = checks()
    assert "s behind" in found["replica 1"]["found"]
    assert "postgresql" in found["replica 1"]["found"]
    assert found["replica 2"]["verdict"] == "warning"
    assert "ledger.replica_urls" in found["replica 2"]["found"]
    with house.held_up():
        eventually("it is behind", lambda: checks()["replica 1"]["verdict"] == "warning")
        assert "s behind the primary" in checks()["replica 1"]["found"]
    house.node.end()
    eventually("it has the last word of the keeper", lambda: "last keeper" in checks()["replica 1"]["found"])
