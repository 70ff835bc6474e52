"""`python -m bench`: speed and memory of one worker on this machine, as ratios measured in one run.

Every pair of figures that is compared is measured in turn, several times, and compared round by round.
"""

import argparse
import contextlib
import shutil
import statistics
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from bench.filling import fill
from bench.measuring import (
    CONNECTIONS,
    BenchmarkFailed,
    Load,
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
SLICE_S = 1
"""Length of one load of a pair; wrk takes whole seconds."""

GROWING_S = 2
"""Length of the loads that make a worker grow: short, so that the last of them overshoots by few people."""


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


def median_of(results):
    return Load(*(statistics.median(getattr(result, field.name) for result in results) for field in fields(Load)))


def show(name, result):
    print(
        f"  {name:34} {result.rate:9.0f}/s   p50 {result.p50_ms:7.2f} ms   p99 {result.p99_ms:7.2f} ms   "
        f"server CPU {result.cpu_ms:.3f} s per 1,000"
    )


@contextlib.contextmanager
def hello(shop):
    """Measures the bare server, one load at a time."""
    listed = shop.directory / "one-pool.txt"
    listed.write_text("central\n")
    with granian_server("bench.hello:app", shop.log("hello")) as server:

        def measure(seconds):
            result = shop.load(server, listed, seconds)
            if result.refused:
                raise BenchmarkFailed(f"hello gave {result.refused} errors")
            return result

        yield measure


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


@contextlib.contextmanager
def claims(shop, pools, *, filled=0):
    """Measures claims, one load of new people at a time, and counts them again in the ledger at the end."""
    data, listed = shop.ledger(pools)
    if filled:
        fill(data, "rush", filled)
    asked = confirmed = 0
    with headgate_server(data, shop.log("claims")) as server:

        def measure(seconds):
            nonlocal asked, confirmed
            result = shop.load(server, listed, seconds, skip=asked)
            if result.refused:
                raise BenchmarkFailed(f"{result.refused} claims were not confirmed")
            asked += result.requests + CONNECTIONS
            confirmed += result.requests
            return result

        yield measure
    _recount(data, filled + confirmed)
    shutil.rmtree(data)


def _recount(data, at_least):
    import json

    tally = json.loads(headgate("audit", "rush", "--json", "--data", data))
    if not tally["ok"] or tally["confirmed"] < at_least:
        raise BenchmarkFailed(f"{at_least} answers, but the ledger says {tally}")


@contextlib.contextmanager
def refusals(shop, pools, asked):
    """Measures refusals: everybody asks for the pool `asked`, which has nothing."""
    data, listed = shop.ledger(pools)
    listed.write_text(f"{asked}\n")
    with headgate_server(data, shop.log("refusals")) as server:

        def measure(seconds):
            result = shop.load(server, listed, seconds)
            if result.refused != result.requests:
                raise BenchmarkFailed(f"{result.requests - result.refused} of {result.requests} were not refused")
            return result

        yield measure
    shutil.rmtree(data)


def memory_after(shop, participants):
    """Resident memory (MB) of a worker that has confirmed `participants` people, and after a restart."""
    data, listed = shop.ledger({"central": 100_000_000})
    done = 0
    with headgate_server(data, shop.log("memory")) as server:
        while done < participants:
            result = shop.load(server, listed, GROWING_S, skip=done)
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


def paired(slices, first_name, first, second_name, second):
    """Median of first/second over short loads taken in turn, both servers up.

    The speed of a shared machine drifts by half within a minute; two loads that follow each other at
    once see the same machine.
    """
    results: dict[str, list[Load]] = {first_name: [], second_name: []}
    with first as one, second as other:
        for number in range(slices):
            turn = [(first_name, one), (second_name, other)]
            for name, measure in turn if number % 2 else reversed(turn):
                results[name].append(measure(SLICE_S))
    for name, found in results.items():
        show(name, median_of(found))
    pairs = zip(results[first_name], results[second_name], strict=True)
    ratios = sorted(above.rate / below.rate for above, below in pairs)
    print(f"  {slices} pairs, ratios {ratios[0]:.3f} to {ratios[-1]:.3f}")
    return statistics.median(ratios)


def run(arguments, directory):
    seconds, slices = arguments.seconds, arguments.slices
    print_environment(directory)
    shop = Workshop(directory, arguments.tokens)
    verdicts = Verdicts()
    one, city = {"central": 100_000_000}, {f"p{number}": UNITS for number in range(CITY_POOLS)}

    def compare(title, verdict, wanted, first_name, first, second_name, second):
        print(f"\n{title}")
        verdicts.check(verdict, paired(slices, first_name, first, second_name, second), wanted, at_least=True)

    compare(
        "confirmed claims against hello", "claims / hello", 0.45,
        "Headgate, claims", claims(shop, one), "bare Granian hello", hello(shop),
    )  # fmt: skip
    compare(
        "refusals against hello", "refusals / hello", 0.60,
        "Headgate, refusals", refusals(shop, {"central": 0}, "central"), "bare Granian hello", hello(shop),
    )  # fmt: skip
    compare(
        "refusals of one pool of two, for which the body is read", "refusals with the body read / hello", 0.60,
        "Headgate, refusals", refusals(shop, {"gone": 0, "other": 5}, "gone"), "bare Granian hello", hello(shop),
    )  # fmt: skip
    print("\nclaims against the textbook stack")
    below = textbook(shop, seconds)
    with claims(shop, one) as measure:
        above = measure(seconds)
    show("Headgate, claims", above)
    verdicts.check("claims / textbook", above.rate / below.rate, 20, at_least=True)
    compare(
        f"{CITY_POOLS} pools against one", f"{CITY_POOLS} pools / 1 pool", 0.85,
        f"Headgate, {CITY_POOLS} pools", claims(shop, city), "Headgate, 1 pool", claims(shop, one),
    )  # fmt: skip
    filled = arguments.filled
    compare(
        f"ledger of {filled} claims against an empty one", "filled ledger / empty ledger", 0.85,
        f"Headgate, {filled} before", claims(shop, one, filled=filled), "Headgate, empty ledger", claims(shop, one),
    )  # fmt: skip
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
    parser.add_argument("--seconds", type=int, default=6, help="length of a single load (s)")
    parser.add_argument("--slices", type=int, default=20, help="pairs of loads in each comparison")
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
