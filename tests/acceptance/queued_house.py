"""Nodes that share a ledger and a store, with queued campaigns; and their consumers, which can be stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import redis
import redis.cluster
import sqlalchemy as sa

from tests.acceptance.client import Api, describe
from tests.acceptance.product import Server, campaign_toml, eventually, living, run_cli
from tests.acceptance.waiting_crowd import Person
from tests.servers import Server as Store

SLUG = "lamps"


class House:
    def __init__(self, directory: Path, gate_url: str, database: Store | None = None, nodes: int = 1) -> None:
        """The embedded ledger where there is no database, and then only one node."""
        self.settings = {
            "HEADGATE_GATE__URL": gate_url,
            "HEADGATE_SECRET_FILE": str(directory / "secret.key"),
        }
        if database is not None:
            url = sa.make_url(database.url).set(drivername="postgresql")
            self.settings["HEADGATE_LEDGER__URL"] = url.render_as_string(hide_password=False)
        self._directory = directory
        self.store: Any = store_client(gate_url)
        self.nodes = [Server(directory / f"node-{number}", settings=self.settings) for number in range(nodes)]
        self.apis: list[Api] = []

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def create(self, units: int, slug: str = SLUG, **options: Any) -> None:
        file = self._directory / f"{slug}.toml"
        options.setdefault("mode", "queued")
        pools = options.pop("pools", (("central", units), ("north", 1_000)))
        file.write_text(campaign_toml(slug, pools, **options), encoding="utf-8")
        self.cli("campaign", "create", file)

    def cli(self, *words: str | Path) -> str:
        return run_cli(*words, data=self.nodes[0].data, settings=self.settings).ok().out

    def start(self) -> None:
        for node in self.nodes:
            node.start()
            self.apis.append(Api(node.url))
        # Its counts are there after its first turn: one that is stopped while it begins would begin afterwards.
        eventually("every node has a consumer", lambda: all(self.consumes(node) for node in self.nodes))

    def people(self, count: int, **options: Any) -> list[Person]:
        """Participants of the campaign, which has to be a rehearsal."""
        file = self._directory / f"{count}.tokens"
        self.cli("rehearsal", "tokens", SLUG, "--count", str(count), "--out", file)
        return [Person(token, **options) for token in file.read_text().split()]

    def consumer_of(self, node: Server) -> int | None:
        for pid in node.processes():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"--plane" in words and words[words.index(b"--plane") + 1] == b"consumer" and living([pid]):
                return pid
        return None

    def consumes(self, node: Server) -> bool:
        counts = (node.data / "run" / "metrics").glob(f"consumer-{self.consumer_of(node)}-*")
        return next(counts, None) is not None

    def consumers(self) -> list[int]:
        return [pid for node in self.nodes if (pid := self.consumer_of(node)) is not None]

    def stop_consumers(self) -> list[int]:
        """Frozen until `go_on`: what is asked meanwhile waits."""
        pids = self.consumers()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    @staticmethod
    def go_on(pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def waiting(self) -> int:
        """Requests that lie in the queues."""
        return sum(self.store.xlen(key) for key in self.queues())

    def taken(self) -> int:
        """Those of them that a consumer has taken."""
        return sum(self.store.xpending(key, "consumers")["pending"] for key in self.queues())

    def queues(self) -> list[str]:
        return [key.decode() for key in self.store.scan_iter("headgate:*:queue")]

    def mine(self, token: str, node: int = 0, slug: str = SLUG) -> dict[str, Any]:
        path = f"/api/v1/campaigns/{slug}/claims/mine"
        answer = self.apis[node].request("GET", path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, describe(answer)
        found: dict[str, Any] = answer.json()
        return found

    def decided(self, token: str, slug: str = SLUG) -> dict[str, Any]:
        """What somebody is told in the end."""
        return eventually("it is decided", lambda: self._decided(token, slug))

    def _decided(self, token: str, slug: str) -> dict[str, Any] | None:
        mine = self.mine(token, slug=slug)
        return None if mine["pending"] else mine

    def audit(self, slug: str = SLUG) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cli("audit", slug, "--json"))
        return found

    def claims(self, slug: str = SLUG) -> dict[str, str]:
        """Claim id to person, of the claims that are confirmed."""
        rows = json.loads(self.cli("campaign", "results", slug, "--format", "json"))
        return {row["id"]: row["person"] for row in rows if row["status"] == "confirmed"}

    def metric(self, name: str, node: int = 0) -> float:
        text = httpx2.get(f"{self.nodes[node].console_url}/metrics").text
        lines = (line for line in text.splitlines() if line.startswith(name))
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def end(self) -> None:
        for api in self.apis:
            api.close()
        for node in self.nodes:
            node.end()
        self.store.close()


def store_client(url: str) -> redis.Redis | redis.RedisCluster:
    scheme, _, places = url.partition("://")
    if scheme == "redis":
        return redis.Redis.from_url(url)
    host, _, port = places.split(",")[0].partition(":")
    return redis.RedisCluster(startup_nodes=[redis.cluster.ClusterNode(host, int(port))])


def pending(answer: httpx2.Response) -> None:
    assert (answer.status_code, answer.json()) == (202, {"outcome": "pending"}), describe(answer)


def nobody_has_two_and_everything_is_had(house: House, people: list[Person], units: int) -> None:
    held, audit = house.claims(), house.audit()
    told = {claim for person in people for claim in person.claim_ids}
    assert told == set(held), "what people were told is not what the ledger has"
    assert max(len(person.claim_ids) for person in people) == 1
    assert len(set(held.values())) == len(held) == units
    assert (audit["ok"], audit["confirmed"]) == (True, units), audit
