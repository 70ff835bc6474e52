"""`python -m bench.crash`: kill -9 of everything at random moments of one rush, and start again.

After every blow the server has to be ready within READY_S, and every claim that a client saw confirmed,
before this blow or any earlier one, has to be in the ledger.  The moments come from a seed that is printed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.measuring import HEADGATE, BenchmarkFailed, free_port, headgate, print_environment, serving, tree
from headgate.lab.crowd import rush, wishes

READY_S = 10
RUSH_S = 2.0
"""The blow falls within so many seconds after the first request."""

POOLS = {"north": 1_000_000, "middle": 500, "south": 1_000_000}
CAMPAIGN = """
slug = "crash"
title = { en = "Crash" }
opens_at = 2020-01-01T00:00:00Z
closes_at = 2099-01-01T00:00:00Z
rehearsal = true
""" + "".join(f'[[pools]]\nid = "{code}"\nunits = {units}\n' for code, units in POOLS.items())


def check(directory, blows, per_blow, dice):
    data, file, tokens_file = directory / "data", directory / "crash.toml", directory / "tokens.txt"
    file.write_text(CAMPAIGN)
    headgate("campaign", "create", file, "--data", data)
    headgate("rehearsal", "tokens", "crash", "--count", blows * per_blow, "--out", tokens_file, "--data", data)
    tokens = tokens_file.read_text().split()
    told: dict[str, str] = {}
    starts = []
    for blow in range(blows + 1):
        started = time.monotonic()
        with _server(data, directory / "serve.log") as server:
            starts.append(time.monotonic() - started)
            if blow == blows:
                break
            new = tokens[blow * per_blow : (blow + 1) * per_blow]
            # Some of those who came before ask again, as people do who saw an error.
            crowd = list(wishes([*new, *dice.sample(tokens[: blow * per_blow], min(blow, 1) * per_blow // 4)],
                                list(POOLS), exponent=0.5, again=0.1, seed=dice.getrandbits(32)))  # fmt: skip
            server.to_be_killed = True
            moment_s = dice.uniform(0.02, RUSH_S)
            strike = threading.Timer(moment_s, _kill, [tree(server.process.pid)])
            strike.start()
            heard = asyncio.run(rush("127.0.0.1", server.port, "crash", iter(crowd), 128))
            strike.join()
            server.process.wait()
        _hold(heard.confirmed, told)
        kept = _confirmed(data)
        lost = [claim for claim in told.values() if claim not in kept]
        if lost:
            raise BenchmarkFailed(f"{len(lost)} claims that were confirmed are gone after the blow at {moment_s:.3f} s")
        print(
            f"  blow {blow + 1:2} after {moment_s:5.3f} s: {len(heard.confirmed):6} confirmed to clients in it,"
            f" {len(told):7} in all, none lost; the start before took {starts[-1]:.2f} s"
        )
    tally = json.loads(headgate("audit", "crash", "--json", "--data", data))
    if not tally["ok"]:
        raise BenchmarkFailed(f"the audit says {tally}")
    worst = max(starts[1:])
    print(
        f"ready after a crash: median {statistics.median(starts[1:]):.2f} s, longest {worst:.2f} s of {READY_S};"
        f" {tally['confirmed']} claims, audit ok"
    )
    if worst > READY_S:
        raise BenchmarkFailed(f"a start took {worst:.2f} s")


def _server(data, log):
    """All planes, as `headgate serve` starts them."""
    port = free_port()
    command = [str(HEADGATE), "serve", "--data", str(data), "--listen", f"127.0.0.1:{port}"]
    environment = {"HEADGATE_LIMITS__PER_IP_PER_MINUTE": "0", "HEADGATE_CONSOLE__LISTEN": f"127.0.0.1:{free_port()}"}
    return serving(command, port, log, "/readyz", environment)


def _kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _hold(confirmed, told):
    for token, claim in confirmed.items():
        if told.setdefault(token, claim) != claim:
            raise BenchmarkFailed(f"somebody was told two claims: {told[token]} and {claim}")


def _confirmed(data):
    with contextlib.closing(sqlite3.connect(f"file:{data / 'ledger.db'}?mode=ro", uri=True)) as ledger:
        return {claim for (claim,) in ledger.execute("SELECT id FROM claim WHERE status = 'confirmed'")}


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description=__doc__)
    parser.add_argument("--blows", type=int, default=20)
    parser.add_argument("--people", type=int, default=20_000, help="new people between two blows")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-crash-") as name:
        print_environment(Path(name))
        print(f"seed      {arguments.seed}")
        try:
            check(Path(name), arguments.blows, arguments.people, random.Random(arguments.seed))
        except BenchmarkFailed as failure:
            sys.exit(f"the crash test failed (--seed {arguments.seed}): {failure}")


if __name__ == "__main__":
    main()
