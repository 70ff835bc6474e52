"""`python -m bench.scale`: nodes on PostgreSQL and Valkey, as ratios measured in one run.

Everything shares this machine: nodes, keeper, both servers and the load.  The speed of one node is compared
with a bare server and with other ways to build the same thing on the same servers; what a claim costs at each
tier is compared over sizes of the ledger, numbers of pools and numbers of nodes.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

from bench.baselines.tables import prepare
from bench.fleet import Spent, fleet, stores
from bench.measuring import BenchmarkFailed, granian_server, print_environment
from bench.workshop import Verdicts, Workshop, hello, median_of, paired, show

CITY_POOLS = 6_588
UNITS = 100_000_000
TOKENS = 1_500_000
FLAT = 1.20
TRIPS_MAX = 0.1
CROWD = 1_024
"""Connections to each node: what came while a batch was committed is the next one, so a larger crowd costs less."""
BASELINE_CONNECTIONS = 64
"""As many as make them fastest; with more they only queue."""


@contextlib.contextmanager
def baseline(shop, target, workers, **environment):
    """Measures a baseline, one load at a time, on stores of its own."""
    listed = shop.directory / "one-pool.txt"
    listed.write_text("central\n")
    asked = 0
    with stores(shop.fresh() / "stores") as store:
        prepare(store.ledger.url)
        variables = {"BASELINE_LEDGER": store.ledger.url, "BASELINE_GATE": store.gate.url, **environment}
        extra = ("--workers", str(workers))
        log = shop.log(target.rpartition(".")[2])
        with granian_server(target, log, interface="asgi", environment=variables, extra=extra) as server:

            def measure(seconds):
                nonlocal asked
                result = shop.load(server, listed, seconds, connections=BASELINE_CONNECTIONS, skip=asked)
                if result.refused:
                    raise BenchmarkFailed(f"{target} gave {result.refused} errors")
                asked += result.requests + BASELINE_CONNECTIONS
                return result

            yield measure


@contextlib.contextmanager
def only_rate(measuring, **options):
    """A fleet, measured as other servers are."""
    with measuring as measure:
        yield lambda seconds: measure(seconds, **options)


def others(shop, seconds, rounds):
    """The best rate (claims/s) of each other way."""
    found = {}
    for name, target, workers, environment in (
        ("textbook stack on servers", "bench.baselines.textbook_servers:app", 1, {}),
        ("textbook stack, two workers", "bench.baselines.textbook_servers:app", 2, {}),
        ("one statement, guarded", "bench.baselines.one_statement:app", 2, {"BASELINE_PATTERN": "guarded"}),
        ("one statement, SKIP LOCKED", "bench.baselines.one_statement:app", 2, {"BASELINE_PATTERN": "skip_locked"}),
    ):
        with baseline(shop, target, workers, **environment) as measure:
            results = [measure(seconds) for _ in range(rounds)]
        show(name, median_of(results))
        found[name] = median_of(results).rate
    return found


def tell(name, spent):
    print(
        f"  {name:34} {spent.rate:9.0f}/s   p99 {spent.p99_ms:7.2f} ms   CPU (µs): node {spent.node_us:6.1f}, "
        f"gate {spent.gate_us:5.1f}, ledger {spent.ledger_us:6.1f}   round trips: gate {spent.gate_trips:.3f}, "
        f"ledger {spent.ledger_trips:.3f}"
    )


def flat(verdicts, shop, seconds, rounds, title, cases):
    """Whether no case costs more than FLAT times the cheapest, at any tier.

    `cases` are the fleets by name.  All are up together and loaded in turn: what a request costs on a shared machine
    drifts by a third within a minute, so only loads that follow each other at once are held against each other.
    """
    print(f"\n{title}")
    spent: dict[str, list[Spent]] = {name: [] for name in cases}
    with contextlib.ExitStack() as stack:
        fleets = {name: stack.enter_context(fleet(shop, pools, **options)) for name, (pools, options) in cases.items()}
        for measure in fleets.values():
            # The first load fills caches and grows the heaps.
            measure(1)
        for number in range(rounds):
            for name in list(fleets) if number % 2 else reversed(fleets):
                spent[name].append(fleets[name](seconds))
    for name, results in spent.items():
        tell(name, median_of(results))
    first = next(iter(spent.values()))
    for tier in ("node_us", "gate_us", "ledger_us", "cpu_us"):
        ratios = [
            statistics.median(
                getattr(one, tier) / getattr(base, tier) for one, base in zip(results, first, strict=True)
            )
            for results in spent.values()
        ]
        verdicts.check(f"{title}, {tier}: dearest / cheapest", max(ratios) / min(ratios), FLAT, at_least=False)


def run(arguments, directory):
    seconds, slices, rounds = arguments.seconds, arguments.slices, arguments.rounds
    print_environment(directory)
    shop = Workshop(directory, arguments.tokens, arguments.connections)
    print(f"{arguments.connections} connections to each server that is not a baseline")
    verdicts = Verdicts()
    one = {"central": UNITS}

    print("\nconfirmed claims against hello")
    above = only_rate(fleet(shop, one))
    ratio = paired(slices, "Headgate, claims", above, "bare Granian hello", hello(shop), tell)
    verdicts.check("claims / hello", ratio, 0.35, at_least=True)
    print("\nrefusals against hello")
    above = only_rate(fleet(shop, {"central": 0}), refused=True)
    ratio = paired(slices, "Headgate, refusals", above, "bare Granian hello", hello(shop), tell)
    verdicts.check("refusals / hello", ratio, 0.50, at_least=True)

    print("\nclaims against other ways on the same servers")
    with fleet(shop, one) as measure:
        ours = median_of([measure(seconds) for _ in range(rounds)])
    tell("Headgate, claims", ours)
    rates = others(shop, seconds, rounds)
    textbook = max(rate for name, rate in rates.items() if name.startswith("textbook"))
    statement = max(rate for name, rate in rates.items() if name.startswith("one statement"))
    verdicts.check("claims / textbook", ours.rate / textbook, 20, at_least=True)
    verdicts.check("claims / one statement", ours.rate / statement, 6, at_least=True)
    for tier in ("gate_trips", "ledger_trips"):
        verdicts.check(f"{tier} a claim", getattr(ours, tier), TRIPS_MAX, at_least=False)

    sizes = (10_000, 200_000, arguments.filled)
    flat(
        verdicts, shop, seconds, rounds, "claims in the ledger before",
        {f"{count}": (one, {"filled": count}) for count in sizes},
    )  # fmt: skip
    flat(
        verdicts, shop, seconds, rounds, "pools",
        {
            f"{count}": ({f"p{number}": UNITS // count for number in range(count)}, {})
            for count in (1, 100, CITY_POOLS)
        },
    )  # fmt: skip
    flat(
        verdicts, shop, seconds, rounds, "nodes",
        {f"{count}": (one, {"nodes": count}) for count in (1, 2, 4)},
    )  # fmt: skip
    return verdicts.missed


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="length of a single load (s)")
    parser.add_argument("--slices", type=int, default=12, help="pairs of loads in each comparison")
    parser.add_argument("--rounds", type=int, default=5, help="loads of each kind that is not compared in pairs")
    parser.add_argument("--tokens", type=int, default=TOKENS, help="distinct people at hand")
    parser.add_argument("--connections", type=int, default=CROWD, help="people at each node at once")
    parser.add_argument("--filled", type=int, default=2_000_000, help="claims in the large ledger")
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
