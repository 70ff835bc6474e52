"""Several ledgers, each with campaigns of its own: they serve as one, and fall one by one."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
import sqlalchemy as sa

from tests.acceptance.client import Api, confirmed, refused
from tests.acceptance.product import Ran, Server, campaign_toml, eventually, run_cli
from tests.servers import Server as Store
from tests.servers import postgresql, valkey

PERMITS = 4


def ledger_url(database: Store) -> str:
    return sa.make_url(database.url).set(drivername="postgresql").render_as_string(hide_password=False)


class Fleet:
    """Two nodes that share a store and two database servers, one of them a shard by the name of `east`."""

    def __init__(self, directory: Path, store: Store, main: Store, east: Store) -> None:
        self.directory = directory
        self.main, self.east = main, east
        self.store: Any = redis.Redis.from_url(store.url)
        self.settings = {
            "HEADGATE_GATE__URL": store.url,
            "HEADGATE_SECRET_FILE": str(directory / "secret.key"),
            "HEADGATE_LEDGER__URL": ledger_url(main),
            "HEADGATE_SHARDS__EAST__URL": ledger_url(east),
            "HEADGATE_EVENTS__STREAM": "true",
            "HEADGATE_LIMITS__CONCURRENCY": str(PERMITS),
        }
        self.nodes = [Server(directory / f"node-{number}", settings=self.settings) for number in range(2)]
        self.apis: list[Api] = []

    def start(self) -> None:
        for node in self.nodes:
            node.start()
            self.apis.append(Api(node.url))

    def run(self, *words: str | Path) -> Ran:
        return run_cli(*words, data=self.nodes[0].data, settings=self.settings)

    def cli(self, *words: str | Path) -> str:
        return self.run(*words).ok().out

    def create(self, slug: str, shard: str | None = None, units: int = 100, **options: Any) -> str:
        """Open on every node."""
        file = self.directory / f"{slug}.toml"
        file.write_text(campaign_toml(slug, (("central", units),), **options), encoding="utf-8")
        self.cli("campaign", "create", file, *(["--shard", shard] if shard else []))
        self.all_say(slug, "open")
        return slug

    def all_say(self, slug: str, phase: str) -> None:
        eventually(f"{slug} is {phase} on every node", lambda: {api.phase(slug) for api in self.apis} == {phase})

    def results(self, slug: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.cli("campaign", "results", slug, "--format", "json"))
        return found

    def audit(self, slug: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cli("audit", slug, "--json"))
        return found

    def told(self, stream: str) -> list[str]:
        """The campaigns of events in a stream."""
        return [json.loads(fields[b"event"])["campaign"] for _, fields in self.store.xrange(stream)]

    def end(self) -> None:
        for api in self.apis:
            api.close()
        for node in self.nodes:
            node.end()
        self.store.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directories = [tmp_path_factory.mktemp(name) for name in ("store", "main", "east")]
    with valkey(directories[0]) as store, postgresql(directories[1]) as main, postgresql(directories[2]) as east:
        made = Fleet(tmp_path_factory.mktemp("fleet"), store, main, east)
        made.cli("campaign", "list")
        made.start()
        yield made
        made.end()


def test_campaigns_of_all_ledgers_are_served_and_steered_alike(fleet: Fleet) -> None:
    slugs = [fleet.create("here", "main", units=2), fleet.create("there", "east", units=2)]
    for slug in slugs:
        first, second = fleet.apis
        people = [first.session() for _ in range(3)]
        claim = confirmed(first.claim(slug, people[0]))
        assert confirmed(second.claim(slug, people[0]), status=200)["id"] == claim["id"]
        confirmed(second.claim(slug, people[1]))
        refused(first.claim(slug, people[2]), 409, "sold_out")
        fleet.all_say(slug, "sold_out")
        assert [own["id"] for own in second.mine(slug, people[0])] == [claim["id"]]
        assert second.cancel(slug, people[0], claim["id"]).status_code == 200
        fleet.cli("campaign", "topup", slug, "central", "3")
        assert [row["status"] for row in fleet.results(slug)] == ["cancelled", "confirmed"]
        assert fleet.audit(slug) | {"available": 4, "confirmed": 1, "cancelled": 1, "ok": True} == fleet.audit(slug)
    listed = {row["slug"]: row["ledger"] for row in json.loads(fleet.cli("campaign", "list", "--json"))}
    assert listed.items() >= {"here": "main", "there": "east"}.items()
    assert json.loads(fleet.cli("campaign", "show", "there", "--json"))["ledger"] == "east"
    planes = [node["plane"] for node in json.loads(fleet.cli("node", "list", "--json"))]
    assert sorted(planes) == sorted(["consumer", "keeper", "participant"] * 2)
    metrics = httpx2.get(f"{fleet.nodes[1].console_url}/metrics").text
    for slug in slugs:
        assert f'headgate_stock{{campaign="{slug}",state="available"}} 4.0' in metrics
    assert "headgate_ledgers_away 0.0" in metrics
    eventually("events are told", lambda: fleet.told("headgate:{events}").count("here") == 3)
    eventually("events are told", lambda: fleet.told("headgate:{events:east}").count("there") == 3)


def test_limits_and_queues_of_campaigns_with_the_same_number_do_not_mix(fleet: Fleet) -> None:
    limits = "{ per_person_per_minute = 2 }"
    limited = [fleet.create(f"limited-{name}", name, limits=limits) for name in ("main", "east")]
    token = fleet.apis[0].session()
    for slug in limited:
        answers = [fleet.apis[number % 2].claim(slug, token) for number in range(3)]
        assert [answer.status_code for answer in answers] == [201, 200, 429], slug
    queued = [fleet.create(f"queued-{name}", name, units=1, mode="queued") for name in ("main", "east")]
    for slug in queued:
        assert fleet.apis[0].claim(slug, token).status_code == 202
    for slug in queued:
        eventually("it is decided", partial(fleet.apis[1].mine, slug, token))
        assert fleet.audit(slug)["confirmed"] == 1


def test_a_slug_is_taken_wherever_it_lives(fleet: Fleet) -> None:
    fleet.create("once", "east")
    for words in ((), ("--shard", "main"), ("--shard", "east")):
        fleet.run("campaign", "create", fleet.directory / "once.toml", *words).failed("once", "exists already")
    fleet.run("campaign", "create", fleet.directory / "once.toml", "--shard", "south").failed(
        "south", "main, east", "shards.NAME.url"
    )


def test_a_ledger_that_hangs_or_dies_takes_only_its_own_campaigns_along(fleet: Fleet) -> None:
    fleet.create("stays", "main", units=10_000)
    fleet.create("falls", "east", units=10_000)
    api = fleet.apis[0]
    before = confirmed(api.claim("falls", api.session()))
    fleet.east.signal(signal.SIGSTOP)
    with ThreadPoolExecutor(PERMITS) as threads:
        tokens = [api.session() for _ in range(PERMITS)]
        stuck = [threads.submit(_claim, fleet.nodes[0].url, token) for token in tokens]
        eventually("the shard has no permit left", lambda: _claim(fleet.nodes[0].url, api.session()) == 503)
        for _ in range(20):
            confirmed(api.claim("stays", api.session()))
        fleet.east.signal(signal.SIGCONT)
        assert {answer.result() for answer in stuck} <= {201, 503}
    fleet.east.kill()
    for _ in range(20):
        confirmed(api.claim("stays", api.session()))
    refused(api.claim("falls", api.session()), 503, "overloaded")
    assert api.state("falls")["phase"] == "open", "what is known goes on being shown"
    assert fleet.nodes[0].ready()
    ran = fleet.run("campaign", "list", "--json").failed("'east'")
    assert "stays" in {row["slug"] for row in json.loads(ran.out)}
    assert fleet.audit("stays")["ok"]
    metrics = httpx2.get(f"{fleet.nodes[0].console_url}/metrics").text
    assert "headgate_ledgers_away 1.0" in metrics
    assert 'headgate_stock{campaign="stays"' in metrics
    fleet.run("campaign", "create", fleet.directory / "once.toml").failed("cannot be reached")
    # Nor does a node that begins now wait for it.
    node = Server(fleet.directory / "late", settings=fleet.settings)
    node.start()
    with Api(node.url) as late:
        confirmed(late.claim("stays", late.session()))
        refused(late.claim("falls", late.session()), 503, "overloaded")
    assert "ledger_away" in node.log()
    fleet.east.again()
    with Api(node.url) as late:
        eventually("it is served where nobody knew it", lambda: late.claim("falls", late.session()).status_code == 201)
    node.end()
    eventually("it goes on", lambda: api.claim("falls", api.session()).status_code == 201)
    assert before["id"] in {row["id"] for row in fleet.results("falls")}
    assert fleet.audit("falls")["ok"]


def _claim(url: str, token: str) -> int:
    with Api(url) as api:
        return api.claim("falls", token).status_code


def test_a_ledger_is_added_and_nothing_moves(tmp_path: Path) -> None:
    """On the embedded ledger, which may have others beside it too."""
    node = Server(tmp_path / "node")
    file = tmp_path / "old.toml"
    file.write_text(campaign_toml("old"), encoding="utf-8")
    run_cli("campaign", "create", file, data=node.data).ok()
    node.start()
    with Api(node.url) as api:
        token = api.session()
        claim = confirmed(api.claim("old", token))
    node.end()
    node.settings["HEADGATE_SHARDS__EXTRA__URL"] = f"sqlite:///{tmp_path / 'extra.db'}"
    node.start()
    file.write_text(campaign_toml("new"), encoding="utf-8")
    run_cli("campaign", "create", file, data=node.data, settings=node.settings).ok()
    with Api(node.url) as api:
        assert [own["id"] for own in api.mine("old", token)] == [claim["id"]]
        assert confirmed(api.claim("old", token), status=200)["id"] == claim["id"]
        eventually("the new one is open", lambda: api.phase("new") == "open")
        confirmed(api.claim("new", token))
        confirmed(api.claim("old", api.session()))
    listed = run_cli("campaign", "list", "--json", data=node.data, settings=node.settings).json()
    assert {row["slug"]: row["ledger"] for row in listed} == {"old": "main", "new": "extra"}
    flags = [tmp_path / "node" / "public" / "state" / f"{slug}.json" for slug in ("old", "new")]
    eventually("the keepers publish both", lambda: all(flag.exists() for flag in flags))
    node.end()


def test_ledgers_that_are_not_apart_are_not_served(tmp_path: Path, fleet: Fleet) -> None:
    node = Server(tmp_path / "node", settings=dict(fleet.settings))
    # The same database by another spelling.
    node.settings["HEADGATE_SHARDS__EAST__URL"] = f"{ledger_url(fleet.main)}?application_name=other"
    assert "'main' and 'east' are the same ledger" in node.must_not_start()
    for name in ("one", "two"):
        file = tmp_path / "same.toml"
        file.write_text(campaign_toml("same"), encoding="utf-8")
        run_cli("campaign", "create", file, data=tmp_path / name).ok()
    node = Server(
        tmp_path / "one", settings={"HEADGATE_SHARDS__TWO__URL": f"sqlite:///{tmp_path / 'two' / 'ledger.db'}"}
    )
    assert "'main' and 'two' both have a campaign 'same'" in node.must_not_start()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HEADGATE_SHARDS", "postgresql://u:hush@h/d", "shards have names; write HEADGATE_SHARDS__NAME__URL"),
        ("HEADGATE_SHARDS__MAIN__URL", "postgresql://u:hush@h/d", "shards holds the name 'main'"),
        ("HEADGATE_SHARDS__EAST__URL", "", "shards.east.url is not given"),
        ("HEADGATE_SHARDS__EAST__URL", "oracle://u:hush@h/d", "shards.east.url names the scheme 'oracle'"),
        ("HEADGATE_SHARDS__EAST__URL", "postgresql://u:hush@h", "shards.east.url names no database"),
        ("HEADGATE_SHARDS__EAST__REPLICA_URLS", "postgresql://u:hush@h/d", "shards.east.url is not given"),
        ("HEADGATE_SHARDS__EAST__PORT", "5432", "no such setting"),
    ],
)
def test_settings_that_cannot_be_used_are_named_without_their_passwords(
    tmp_path: Path, variable: str, value: str, said: str
) -> None:
    ran = run_cli("campaign", "list", data=tmp_path / "data", settings={variable: value}).failed(said)
    assert "hush" not in ran.err
