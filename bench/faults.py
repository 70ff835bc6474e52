"""`python -m bench.faults`: the same fault run for Headgate and for a design with its stock in Redis.

Same stores, same people, same blows from the same seed, same judge.  What each of them lost, gave twice, or left
over stands side by side.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import redis
import sqlalchemy as sa

from bench.measuring import ROOT, BenchmarkFailed, print_environment
from headgate.lab.faults.design import http_answers
from headgate.lab.faults.run import FaultRun, RunFailed
from headgate.lab.faults.stage import KEEPERS, NODES, product, stage
from headgate.lab.servers.process import NoServer, Server, free_port

DRAIN_S = 120
PROGRAM = [sys.executable, "-m", "bench.baselines.redis_first"]


class RedisFirst:
    """See `headgate.lab.faults.design.Design`."""

    cancels = False

    def __init__(self, directory, ledger_url, gate_url):
        self._directory = directory
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT.parent),
            "REDIS_FIRST_GATE": gate_url,
            "REDIS_FIRST_LEDGER": ledger_url.replace("postgresql:", "postgresql+psycopg:"),
        }
        # Its tables come with its first campaign, and without them no node is ready.
        self._set_up("first", {"only": 1})
        self.nodes = [self._node(number) for number in range(NODES)]
        self.keepers = [self._program(f"consumer-{number}", ["consume"], "", _runs) for number in range(KEEPERS)]

    def _node(self, number):
        listen = f"127.0.0.1:{free_port()}"
        return self._program(f"shop-{number}", ["serve", "--listen", listen], f"http://{listen}", http_answers)

    def _program(self, name, words, url, answers):
        log = self._directory / f"{name}.log"
        return Server([*PROGRAM, *words], log, url, self._environment, answers=answers, user={})

    def begin(self, sale):
        self._set_up(sale.slug, sale.pools)
        sale.tokens.write_text("".join(f"person-{number}\n" for number in range(sale.people)))

    def settle(self, sale):
        client = redis.RedisCluster.from_url(
            self._environment["REDIS_FIRST_GATE"].replace("+cluster", "").split(",")[0]
        )
        deadline = time.monotonic() + DRAIN_S
        while client.xlen(f"{{redis-first:{sale.slug}}}:wins"):
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"the consumers did not write all wins in {DRAIN_S} s")
            time.sleep(0.1)
        client.close()

    def _set_up(self, slug, pools):
        file = self._directory / f"{slug}.json"
        content = {
            "slug": slug,
            "title": {"en": "Fault run"},
            "opens_at": "2020-01-01T00:00:00Z",
            "closes_at": "2099-01-01T00:00:00Z",
            "pools": [{"id": code, "units": units} for code, units in pools.items()],
        }
        file.write_text(json.dumps(content))
        ran = subprocess.run(
            [*PROGRAM, "setup", "--file", str(file)], env=self._environment, capture_output=True, text=True
        )
        if ran.returncode:
            raise BenchmarkFailed(f"the baseline could not be set up: {ran.stderr}")
        engine = sa.create_engine(self._environment["REDIS_FIRST_LEDGER"])
        with engine.begin() as connection:
            # The judge looks there for what operators changed, and nobody changes anything here.
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS operation (at bigint NOT NULL)")
        engine.dispose()


def _runs(_url):
    return True


def redis_first(directory, ledger_url, replica_url, gate_url):  # noqa: ARG001 -- it reads from the primary
    return RedisFirst(directory, ledger_url, gate_url)


def judged(directory, make_design, arguments):
    """(what the judge found by rule, people confirmed, people in all)."""
    directory.mkdir()
    with stage(directory, print, make_design) as set_up:
        report = FaultRun(set_up, directory, arguments.seed, arguments.people, print).run(arguments.minutes)
    found: Counter[str] = Counter()
    for one in report.rounds:
        for violation in one.verdict.violations:
            found[f"{violation.invariant} {violation.rule.replace('_', ' ')}"] += violation.count
    counts = [one.verdict.counts for one in report.rounds]
    return found, sum(one.confirmed for one in counts), sum(one.persons for one in counts)


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.1, help="begin new rounds until then")
    parser.add_argument("--people", type=int, default=50_000, help="in each round")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as name:
        directory = Path(name)
        print_environment(directory)
        try:
            results = {
                "Headgate": judged(directory / "headgate", product, arguments),
                "stock in Redis": judged(directory / "redis-first", redis_first, arguments),
            }
        except (NoServer, RunFailed, BenchmarkFailed) as failure:
            sys.exit(f"the benchmark failed: {failure}")
    for title, (found, confirmed, people) in results.items():
        print(f"\n{title}: {people} people, {confirmed} claims confirmed to somebody")
        for rule, count in sorted(found.items()):
            print(f"  {count:7} {rule}")
        if not found:
            print("  the judge found nothing")
    ours, theirs = results["Headgate"][0], results["stock in Redis"][0]
    if ours:
        sys.exit("Headgate broke a promise")
    if not theirs:
        sys.exit("the baseline lost nothing, so that this run shows nothing; make it longer")


if __name__ == "__main__":
    main()
