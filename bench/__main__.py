"""`python -m bench`: speed and memory of one worker on this machine, as ratios measured in one run.

Every pair of figures that is compared is measured in turn, several times, and compared round by round.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from bench.filling import fill
from bench.measuring import (
    BenchmarkFailed,
    granian_server,
    headgate,
    headgate_server,
    load,
    print_environment,
    resident_mb,
)
from bench.overload import refusal_p99_ms

CAMPAIGN = """
slug = "{slug}"
title = {{ en = "Benchmark" }}
opens_at = 2020-01-01T00:00:00Z
closes_at = 2099-01-01T00:00:00Z
rehearsal = true
"""
POOL = """[[pools]]
id = "{id}"
units = {units}
"""
CITY_POOLS = 6_588
TOKENS = 1_200_000
UNITS = 100_000


class Workshop:
    """A directory with one key and one file of tokens, from which every run takes a fresh ledger."""

    def __init__(self, directory, tokens):
        self.directory = directory
        self.base = directory / "base"
        self.tokens = directory / "tokens.txt"
        self.token_count = tokens
        self._runs = 0
        self._create(self.base, "rush", {"central": 100_000_000})
        headgate("rehearsal", "tokens", "rush", "--count", tokens, "--out", self.tokens, "--data", self.base)

    def _create(self, data, slug, pools):
        file = self.directory / f"{slug}.toml"
        file.write_text(CAMPAIGN.format(slug=slug) + "".join(POOL.format(id=i, units=u) for i, u in pools.items()))
        headgate("campaign", "create", file, "--data", data)

    def ledger(self, pools):
        """(data directory, file of pool ids) of a fresh ledger with the campaign "rush"."""
        self._runs += 1
        data = self.directory / f"run-{self._runs}"
        data.mkdir(mode=0o700)
        shutil.copy(self.base / "secret.key", data)
        (data / "secret.key").chmod(0o600)
        self._create(data, "rush", pools)
        listed = self.directory / f"pools-{self._runs}.txt"
        listed.write_text("\n".join(pools) + "\n")
        return data, listed

    def log(self, name):
        return self.directory / f"{name}.log"

    def load(self, server, listed, seconds, **options):
        return load(
            server, self.tokens, listed, slug="rush", seconds=seconds, tokens_in_file=self.token_count, **options
        )


def show(name, result):
    print(
        f"  {name:34} {result.rate:9.0f}/s   p50 {result.p50_ms:7.2f} ms   p99 {result.p99_ms:7.2f} ms   "
        f"server CPU {result.cpu_ms:.3f} s per 1,000"
    )


def hello(shop, seconds):
    with granian_server("bench.hello:app", shop.log("hello")) as server:
        listed = shop.directory / "one-pool.txt"
        listed.write_text("central\n")
        result = shop.load(server, listed, seconds)
    if result.refused:
        raise BenchmarkFailed(f"hello gave {result.refused} errors")
    show("bare Granian hello", result)
    return result


def textbook(shop, seconds):
    database = shop.directory / "textbook.db"
    database.unlink(missing_ok=True)
    environment = {"TEXTBOOK_DB": str(database)}
    with granian_server(
        "bench.baselines.textbook:app", shop.log("textbook"), interface="asgi", environment=environment
    ) as server:
        listed = shop.directory / "one-pool.txt"
        result = shop.load(server, listed, seconds, connections=64)
    if result.refused:
        raise BenchmarkFailed(f"the textbook stack gave {result.refused} errors")
    show("textbook stack, claims", result)
    return result


def claims(shop, seconds, pools, name, *, filled=0, memory=None):
    data, listed = shop.ledger(pools)
    if filled:
        fill(data, "rush", filled)
    with headgate_server(data, shop.log(name)) as server:
        result = shop.load(server, listed, seconds)
        if memory is not None:
            memory.append(resident_mb(server.process.pid))
    if result.refused:
        raise BenchmarkFailed(f"{name}: {result.refused} claims were not confirmed")
    _recount(data, filled + result.requests, name)
    show(name, result)
    shutil.rmtree(data)
    return result


def _recount(data, at_least, name):
    import json

    tally = json.loads(headgate("audit", "rush", "--json", "--data", data))
    if not tally["ok"] or tally["confirmed"] < at_least:
        raise BenchmarkFailed(f"{name}: {at_least} answers, but the ledger says {tally}")


def refusals(shop, seconds):
    data, listed = shop.ledger({"central": 0})
    with headgate_server(data, shop.log("refusals")) as server:
        result = shop.load(server, listed, seconds)
    if result.refused != result.requests:
        raise BenchmarkFailed(f"{result.requests - result.refused} of {result.requests} were not refused")
    show("Headgate, refusals (sold out)", result)
    shutil.rmtree(data)
    return result


def refusals_while_selling(shop, seconds):
    """One pool of two is sold out, so that the body has to be read to know."""
    data, listed = shop.ledger({"gone": 0, "other": 5})
    listed.write_text("gone\n")
    with headgate_server(data, shop.log("refusals-pool")) as server:
        result = shop.load(server, listed, seconds)
    if result.refused != result.requests:
        raise BenchmarkFailed(f"{result.requests - result.refused} of {result.requests} were not refused")
    show("Headgate, refusals (one pool of two)", result)
    shutil.rmtree(data)
    return result


def memory_after(shop, participants):
    """Resident memory (MB) of a worker that has confirmed `participants` people, and after a restart."""
    data, listed = shop.ledger({"central": 100_000_000})
    done = 0
    with headgate_server(data, shop.log("memory")) as server:
        while done < participants:
            result = shop.load(server, listed, 8, skip=done)
            if result.refused:
                raise BenchmarkFailed(f"{result.refused} claims were not confirmed")
            done += result.requests + 256
        grown = resident_mb(server.process.pid)
    with headgate_server(data, shop.log("memory-again")) as server:
        restarted = resident_mb(server.process.pid)
    shutil.rmtree(data)
    return grown, restarted


class Verdicts:
    def __init__(self):
        self.missed = []

    def check(self, name, value, wanted, *, at_least):
        good = value >= wanted if at_least else value <= wanted
        sign = ">=" if at_least else "<="
        print(f"{'ok    ' if good else 'MISSED'}  {name}: {value:.3g} (wanted {sign} {wanted:g})")
        if not good:
            self.missed.append(name)


def paired(rounds, first, second):
    """Median of first/second, round by round, so that a machine whose speed drifts does not decide."""
    ratios = []
    for _ in range(rounds):
        below = second()
        ratios.append(first().rate / below.rate)
    print(f"  ratios {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    return statistics.median(ratios)


def run(arguments, directory):
    seconds, rounds = arguments.seconds, arguments.rounds
    print_environment(directory)
    shop = Workshop(directory, arguments.tokens)
    verdicts = Verdicts()
    one, city = {"central": 100_000_000}, {f"p{number}": UNITS for number in range(CITY_POOLS)}

    print("\nconfirmed claims against hello")
    ratio = paired(rounds, lambda: claims(shop, seconds, one, "Headgate, claims"), lambda: hello(shop, seconds))
    verdicts.check("claims / hello", ratio, 0.45, at_least=True)
    print("\nrefusals against hello")
    ratio = paired(rounds, lambda: refusals(shop, seconds), lambda: hello(shop, seconds))
    verdicts.check("refusals / hello", ratio, 0.60, at_least=True)
    ratio = paired(rounds, lambda: refusals_while_selling(shop, seconds), lambda: hello(shop, seconds))
    verdicts.check("refusals with the body read / hello", ratio, 0.60, at_least=True)
    print("\nclaims against the textbook stack")
    ratio = paired(1, lambda: claims(shop, seconds, one, "Headgate, claims"), lambda: textbook(shop, seconds))
    verdicts.check("claims / textbook", ratio, 20, at_least=True)
    print(f"\n{CITY_POOLS} pools against one")
    ratio = paired(
        rounds,
        lambda: claims(shop, seconds, city, f"Headgate, {CITY_POOLS} pools"),
        lambda: claims(shop, seconds, one, "Headgate, 1 pool"),
    )
    verdicts.check(f"{CITY_POOLS} pools / 1 pool", ratio, 0.85, at_least=True)
    print(f"\nledger of {arguments.filled} claims against an empty one")
    ratio = paired(
        rounds,
        lambda: claims(shop, seconds, one, f"Headgate, {arguments.filled} before", filled=arguments.filled),
        lambda: claims(shop, seconds, one, "Headgate, empty ledger"),
    )
    verdicts.check("filled ledger / empty ledger", ratio, 0.85, at_least=True)
    print("\nrefusals above the admission limit, at twice the capacity")
    p99 = refusal_p99_ms(shop, seconds)
    verdicts.check("p99 of a refusal (ms)", p99, 10, at_least=False)
    print(f"\nmemory after {arguments.participants} participants")
    grown, restarted = memory_after(shop, arguments.participants)
    verdicts.check("resident MB of the worker", grown, 400, at_least=False)
    verdicts.check("resident MB after a restart", restarted, 400, at_least=False)
    return verdicts.missed


def main():
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="distinct people at hand")
    parser.add_argument("--filled", type=int, default=2_000_000, help="claims in the large ledger")
    parser.add_argument("--participants", type=int, default=1_000_000, help="people for the memory figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as name:
        try:
            missed = run(arguments, Path(name))
        except BenchmarkFailed as failure:
            sys.exit(f"the benchmark failed: {failure}")
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
