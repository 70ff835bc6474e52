"""What every benchmark begins with, and how two figures are compared."""

import contextlib
import json
import shutil
import statistics
from dataclasses import fields
from typing import Any

from bench.measuring import CONNECTIONS, BenchmarkFailed, granian_server, headgate, load

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
SLICE_S = 1
"""Length of one load of a pair; wrk takes whole seconds."""


class Workshop:
    """A directory with one key and one file of tokens, from which every run takes a fresh ledger."""

    def __init__(self, directory, tokens, connections=CONNECTIONS):
        """`connections` is how many people are there at once, in every load that does not say otherwise."""
        self.directory = directory
        self.connections = connections
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
        data = self.fresh()
        shutil.copy(self.key, data)
        (data / "secret.key").chmod(0o600)
        self._create(data, "rush", pools)
        listed = self.directory / f"pools-{self._runs}.txt"
        listed.write_text("\n".join(pools) + "\n")
        return data, listed

    @property
    def key(self):
        """The key file that the tokens are good for."""
        return self.base / "secret.key"

    def fresh(self):
        """A directory for one run."""
        self._runs += 1
        directory = self.directory / f"run-{self._runs}"
        directory.mkdir(mode=0o700)
        return directory

    def log(self, name):
        return self.directory / f"{name}.log"

    def load(self, server, listed, seconds, **options):
        options = {"connections": self.connections, "tokens_in_file": self.token_count, **options}
        return load(server, self.tokens, listed, slug="rush", seconds=seconds, **options)


def recount(data, at_least, environment=None):
    """Raises BenchmarkFailed where the ledger holds less than was confirmed, or contradicts itself."""
    tally = json.loads(headgate("audit", "rush", "--json", "--data", data, environment=environment))
    if not tally["ok"] or tally["confirmed"] < at_least:
        raise BenchmarkFailed(f"{at_least} answers, but the ledger says {tally}")


def median_of(results):
    """The median of each figure; the results are of one kind."""
    kind = type(results[0])
    return kind(*(statistics.median(getattr(result, field.name) for result in results) for field in fields(kind)))


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


class Verdicts:
    def __init__(self):
        self.missed = []

    def check(self, name, value, wanted, *, at_least):
        good = value >= wanted if at_least else value <= wanted
        sign = ">=" if at_least else "<="
        print(f"{'ok    ' if good else 'MISSED'}  {name}: {value:.3g} (wanted {sign} {wanted:g})")
        if not good:
            self.missed.append(name)


def paired(slices, first_name, first, second_name, second, tell=show):
    """Median of first/second over short loads taken in turn, both servers up.

    The speed of a shared machine drifts by half within a minute; two loads that follow each other at
    once see the same machine.
    """
    results: dict[str, list[Any]] = {first_name: [], second_name: []}
    with first as one, second as other:
        for number in range(slices):
            turn = [(first_name, one), (second_name, other)]
            for name, measure in turn if number % 2 else reversed(turn):
                results[name].append(measure(SLICE_S))
    tell(first_name, median_of(results[first_name]))
    show(second_name, median_of(results[second_name]))
    pairs = zip(results[first_name], results[second_name], strict=True)
    ratios = sorted(above.rate / below.rate for above, below in pairs)
    print(f"  {slices} pairs, ratios {ratios[0]:.3f} to {ratios[-1]:.3f}")
    return statistics.median(ratios)
