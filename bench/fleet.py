"""Nodes on a PostgreSQL ledger and a Valkey gate, and what each tier of them spends."""

import contextlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import redis
import sqlalchemy as sa

from bench.filling import fill
from bench.measuring import (
    BenchmarkFailed,
    cpu_seconds,
    free_port,
    headgate,
    headgate_command,
    serving,
)
from bench.workshop import CAMPAIGN, POOL, recount
from headgate.lab.servers.postgresql import postgresql
from headgate.lab.servers.valkey import valkey

SLUG = "rush"
COUNTED = str(10**9)
"""A limit per address that nobody reaches: every request is counted at the gate."""

SETTLE_S = 120

TRIPS = 2
"""Round trips of a transaction that confirms: what it reads, and what it writes together with the commit."""


@dataclass
class Spent:
    """For one load: requests and their rate; processor time a request of each tier (µs); round trips a request."""

    requests: int
    rate: float
    refused: int
    node_us: float
    gate_us: float
    ledger_us: float
    gate_trips: float
    ledger_trips: float
    p99_ms: float

    @property
    def cpu_us(self):
        return self.node_us + self.gate_us + self.ledger_us


class Stores:
    """A PostgreSQL and a Valkey server, empty."""

    def __init__(self, ledger, gate):
        self.ledger, self.gate = ledger, gate
        self.client = redis.Redis.from_url(gate.url, decode_responses=True)
        self.engine = sa.create_engine(ledger.url, isolation_level="AUTOCOMMIT")

    def spent(self):
        """(gate CPU (s), ledger CPU (s), calls of the gate, those for who has claimed, transactions that wrote)."""
        stats = self.client.info("commandstats")
        calls = {name: stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval", "hmget")}
        with self.engine.connect() as connection:
            wrote = connection.exec_driver_sql("SELECT pg_current_xact_id()::text::bigint").scalar_one()
        gate, ledger = cpu_seconds(self.gate.process.pid), cpu_seconds(self.ledger.process.pid)
        return gate, ledger, sum(calls.values()), calls["hmget"], wrote

    def settle(self, claims):
        """What filling left to be done is done, and is in no figure: the gate has followed, the tables are counted."""
        deadline = time.monotonic() + SETTLE_S
        while not any(
            int(self.client.hget(key, "seq") or 0) >= claims for key in self.client.scan_iter("headgate:*:claimants")
        ):
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"the gate did not follow {claims} claims in {SETTLE_S} s")
            time.sleep(0.1)
        with self.engine.connect() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")


@contextlib.contextmanager
def stores(directory):
    directory.mkdir()
    with postgresql(directory) as ledger, valkey(directory) as gate:
        made = Stores(ledger, gate)
        yield made
        made.client.close()
        made.engine.dispose()
    shutil.rmtree(directory)


class Fleet:
    """Measures loads of new people; each node has a crowd of its own, as large as that of one node alone."""

    def __init__(self, shop, servers, store, listed):
        self._shop, self._servers, self._stores, self._listed = shop, servers, store, listed
        # Each node's people are a part of the file; whoever was asked there is not asked again.
        self._share = shop.token_count // len(servers)
        self._asked = [0] * len(servers)
        self.confirmed = 0

    def __call__(self, seconds, *, refused=False):
        before, nodes_before = self._stores.spent(), self._nodes_cpu()
        with ThreadPoolExecutor(len(self._servers)) as pool:
            loads = [
                pool.submit(
                    self._shop.load, server, self._listed, seconds,
                    skip=number * self._share + self._asked[number], tokens_in_file=(number + 1) * self._share,
                )
                for number, server in enumerate(self._servers)
            ]  # fmt: skip
            found = [one.result() for one in loads]
        requests = sum(one.requests for one in found)
        gave_up = sum(one.refused for one in found)
        if refused and gave_up != requests:
            raise BenchmarkFailed(f"{requests - gave_up} of {requests} were not refused")
        if not refused and gave_up:
            raise BenchmarkFailed(f"{gave_up} of {requests} claims were not confirmed")
        if not refused:
            self.confirmed += requests
            more = self._shop.connections
            self._asked = [asked + one.requests + more for asked, one in zip(self._asked, found, strict=True)]
        after, nodes_after = self._stores.spent(), self._nodes_cpu()
        gate, ledger, asked, seen, wrote = (above - below for above, below in zip(after, before, strict=True))
        return Spent(
            requests, sum(one.rate for one in found), gave_up,
            node_us=(nodes_after - nodes_before) / requests * 1e6,
            gate_us=gate / requests * 1e6,
            ledger_us=ledger / requests * 1e6,
            gate_trips=asked / requests,
            # Who is refused is looked up at the gate, and the ledger is asked once each time.
            ledger_trips=(seen if refused else TRIPS * wrote) / requests,
            p99_ms=max(one.p99_ms for one in found),
        )  # fmt: skip

    def _nodes_cpu(self):
        return sum(cpu_seconds(server.process.pid) for server in self._servers)


@contextlib.contextmanager
def fleet(shop, pools, *, nodes=1, filled=0):
    """`nodes` participant planes and a keeper on fresh stores; the ledger is counted again at the end."""
    directory = shop.fresh()
    with stores(directory / "stores") as store, contextlib.ExitStack() as stack:
        environment = {
            "HEADGATE_LEDGER__URL": store.ledger.url.replace("+psycopg", ""),
            "HEADGATE_GATE__URL": store.gate.url,
            "HEADGATE_SECRET_FILE": str(shop.key),
            "HEADGATE_LIMITS__PER_IP_PER_MINUTE": COUNTED,
            # Nobody is refused for want of a permit: what is measured is decisions.
            "HEADGATE_LIMITS__CONCURRENCY": str(shop.connections),
        }
        file, listed = directory / "rush.toml", directory / "pools.txt"
        file.write_text(CAMPAIGN.format(slug=SLUG) + "".join(POOL.format(id=i, units=u) for i, u in pools.items()))
        listed.write_text("\n".join(pools) + "\n")
        office = directory / "office"
        headgate("campaign", "create", file, "--data", office, environment=environment)
        if filled:
            fill(office, SLUG, filled, environment)
        servers = []
        for number in range(nodes):
            port = free_port()
            command = headgate_command("participant", directory / f"node-{number}", port)
            log = directory / f"node-{number}.log"
            servers.append(stack.enter_context(serving(command, port, log, "/readyz", environment)))
        keeping = headgate_command("keeper", directory / "keeper", None)
        stack.enter_context(serving(keeping, None, directory / "keeper.log", None, environment))
        if filled:
            store.settle(filled)
        made = Fleet(shop, servers, store, listed)
        yield made
        recount(office, filled + made.confirmed, environment)
    shutil.rmtree(directory)
