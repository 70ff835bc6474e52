"""Nodes that share a ledger on PostgreSQL: what one of them gives, no other gives again, whoever dies.

Moments are drawn from a seed that every failure prints; `TEST_SEED` replays one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.acceptance.client import Api, confirmed
from tests.acceptance.crowd import Rush, Told, tally
from tests.acceptance.product import Server, campaign_toml, eventually, run_cli
from tests.servers import Server as Database
from tests.servers import postgresql

SEED = int(os.environ.get("TEST_SEED", "20261201"))
STOCK = {"north": 150, "south": 150}
SLUG = "shared"
PATIENCE_S = 60


@pytest.fixture
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with postgresql(tmp_path_factory.mktemp("database")) as server:
        yield server


class Fleet:
    """Two nodes, each with a directory of its own, one key and one ledger."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.database = database
        url = sa.make_url(database.url).set(drivername="postgresql")
        self.settings = {"HEADGATE_LEDGER__URL": url.render_as_string(hide_password=False)}
        self.key = directory / "secret.key"
        self.settings["HEADGATE_SECRET_FILE"] = str(self.key)
        self.nodes = [Server(directory / f"node-{number}", settings=self.settings) for number in range(2)]
        self.file = directory / "campaign.toml"

    def create(self, **options: object) -> None:
        self.file.write_text(campaign_toml(SLUG, tuple(STOCK.items()), **options), encoding="utf-8")  # type: ignore[arg-type]  # passed on
        self.cli("campaign", "create", self.file)

    def cli(self, *words: str | Path) -> str:
        return run_cli(*words, data=self.nodes[0].data, settings=self.settings).ok().out

    def people(self, count: int) -> list[Told]:
        tokens = self.file.with_suffix(".tokens")
        self.cli("rehearsal", "tokens", SLUG, "--count", str(count), "--out", tokens)
        return [
            Told(token, ("north", "south")[n % 2], key=f"k{n}") for n, token in enumerate(tokens.read_text().split())
        ]

    def claims(self) -> dict[str, str]:
        """Claim id to person, of the claims that are confirmed."""
        rows = json.loads(self.cli("campaign", "results", SLUG, "--format", "json"))
        return {row["id"]: row["person"] for row in rows if row["status"] == "confirmed"}

    def audit(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.cli("audit", SLUG, "--json"))
        return found


@pytest.fixture
def fleet(tmp_path: Path, database: Database) -> Iterator[Fleet]:
    made = Fleet(tmp_path, database)
    yield made
    for node in made.nodes:
        node.end()


def rush_on(node: Server, people: list[Told], blows: dict[int, threading.Event]) -> threading.Thread:
    rush = Rush(node.url, SLUG, patience_s=PATIENCE_S, connections=32)
    rush.on_confirmed = lambda count: blows[count].set() if count in blows else None
    thread = threading.Thread(target=rush.run, args=(people,))
    thread.start()
    return thread


def test_one_person_has_one_claim_whichever_node_they_ask(fleet: Fleet) -> None:
    fleet.create()
    for node in fleet.nodes:
        node.start()
    apis = [Api(node.url) for node in fleet.nodes]
    token = apis[0].session()
    first = confirmed(apis[0].claim(SLUG, token, "north"))
    again = confirmed(apis[1].claim(SLUG, token, "north"), status=200)
    assert again["id"] == first["id"]
    assert [claim["id"] for claim in apis[1].mine(SLUG, token)] == [first["id"]]
    assert apis[1].cancel(SLUG, token, str(first["id"])).status_code == 200
    assert [claim["status"] for claim in apis[0].mine(SLUG, token)] == ["cancelled"]
    fleet.cli("campaign", "pause", SLUG)
    eventually("every node hears of the pause", lambda: {api.phase(SLUG) for api in apis} == {"paused"})
    for api in apis:
        api.close()


def test_nodes_and_the_database_die_in_a_rush_and_nothing_is_lost_or_given_twice(fleet: Fleet) -> None:
    dice = random.Random(SEED)
    fleet.create(rehearsal=True)
    people = fleet.people(800)
    for node in fleet.nodes:
        node.start()
    node_dies, database_dies = threading.Event(), threading.Event()
    halves = people[0::2], people[1::2]
    crowd = [
        rush_on(fleet.nodes[0], halves[0], {dice.randint(10, 60): database_dies}),
        rush_on(fleet.nodes[1], halves[1], {dice.randint(5, 30): node_dies}),
    ]
    assert node_dies.wait(PATIENCE_S)
    fleet.nodes[1].kill_everything()
    fleet.nodes[1].start()
    assert database_dies.wait(PATIENCE_S)
    fleet.database.kill()
    fleet.database.again()
    for thread in crowd:
        thread.join(3 * PATIENCE_S)
    context = f"seed {SEED}: {tally(people)}"
    assert all(person.status in (200, 201, 409) for person in people), f"somebody got no final answer, {context}"
    held, audit = fleet.claims(), fleet.audit()
    told = {claim for person in people for claim in person.claim_ids}
    assert told <= held.keys(), f"{len(told - held.keys())} confirmed claims are gone, {context}"
    assert all(len(set(person.claim_ids)) <= 1 for person in people), context
    assert len(set(held.values())) == len(held), f"somebody has two, {context}"
    assert (audit["ok"], audit["confirmed"], audit["available"]) == (True, sum(STOCK.values()), 0), (
        f"{audit}, {context}"
    )


def test_a_node_whose_ledger_cannot_be_reached_says_so_and_is_not_ready(fleet: Fleet) -> None:
    fleet.create()
    node = fleet.nodes[0].start()
    with Api(node.url) as api:
        token = api.session()
        fleet.database.kill()
        answer = api.claim(SLUG, token, "north")
        assert (answer.status_code, answer.json()["outcome"]) in ((503, "overloaded"), (503, "unknown"))
        assert int(answer.headers["retry-after"]) >= 1
        assert api.state(SLUG)["slug"] == SLUG, "what is known goes on being shown"
        eventually("not ready", lambda: not node.ready())
        fleet.database.again()
        eventually("ready again", node.ready)
        eventually("claims go on", lambda: api.claim(SLUG, token, "north").status_code in (200, 201))
        assert len(api.mine(SLUG, token)) == 1


def test_a_worker_that_begins_while_the_ledger_is_away_asks_everybody_to_come_again(fleet: Fleet) -> None:
    fleet.create()
    node = fleet.nodes[0].start()
    with Api(node.url) as api:
        token = api.session()
        fleet.database.kill()
        before = worker_of(node)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        eventually("another worker has begun", lambda: worker_of(node) not in (None, before))
        eventually("it answers", lambda: answers(node))
        for answer in (api.claim(SLUG, token, "north"), api.request("GET", f"/api/v1/campaigns/{SLUG}")):
            assert (answer.status_code, answer.json()["outcome"]) == (503, "overloaded"), answer.text
        assert not node.ready()
        assert node.log().count("ledger_not_read") <= 1
        assert "Traceback" not in node.log()
        fleet.database.again()
        eventually("ready again", node.ready)
        eventually("claims go on", lambda: api.claim(SLUG, token, "north").status_code in (200, 201))


def answers(node: Server) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", node.port)) == 0


def worker_of(node: Server) -> int | None:
    """The process that has a ledger process, which names it."""
    for pid in node.processes():
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if "headgate.bootstrap.ledger_writer" in words:
            return int(words[-3])
    return None


def test_a_node_that_is_told_to_end_finishes_what_it_took_and_takes_nothing_more(fleet: Fleet) -> None:
    fleet.create(rehearsal=True)
    people = fleet.people(20)
    node = fleet.nodes[0].start()
    unfinished = socket.create_connection(("127.0.0.1", node.port))
    head = f"POST /api/v1/campaigns/{SLUG}/claims HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {people[0].token}\r\n"
    unfinished.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{{".encode())
    fleet.database.signal(signal.SIGSTOP)
    rush = Rush(node.url, SLUG, patience_s=0, connections=len(people))
    thread = threading.Thread(target=rush.run, args=(people,))
    thread.start()
    eventually("it took all of them", lambda: taken(node) == len(people) + 1)
    ended: list[int] = []
    ending = threading.Thread(target=lambda: ended.append(node.terminate()))
    ending.start()
    eventually("nobody else gets in", lambda: not answers(node))
    fleet.database.signal(signal.SIGCONT)
    thread.join(PATIENCE_S)
    ending.join(PATIENCE_S)
    assert {person.status for person in people} == {201}, tally(people)
    assert ended == [0]
    unfinished.close()


def taken(node: Server) -> int:
    """Connections of the node's listener that are established, and of which it has read all that came."""
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        established, received = state == "01", int(queues.partition(":")[2], 16)
        count += established and int(local.partition(":")[2], 16) == node.port and not received
    return count


def test_the_databases_password_is_in_no_command_line_and_no_log(fleet: Fleet) -> None:
    fleet.create()
    url = sa.make_url(fleet.settings["HEADGATE_LEDGER__URL"]).set(password="sekret-word")
    node = fleet.nodes[0]
    node.settings = fleet.settings | {"HEADGATE_LEDGER__URL": url.render_as_string(hide_password=False)}
    node.start()
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in node.processes()]
    fleet.database.kill()
    with Api(node.url) as api:
        api.claim(SLUG, api.session(), "north")
    eventually("the failure is logged", lambda: "ledger_failed" in node.log())
    fleet.database.again()
    assert not [line for line in lines if b"sekret-word" in line]
    assert "sekret-word" not in node.log()
