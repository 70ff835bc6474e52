"""`python -m bench`: speed and memory of one worker on this machine, as ratios measured in one run.

Every pair of figures that is compared is measured in turn, several times, and compared round by round.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from bench.filling import fill
from bench.measuring import (
    CONNECTIONS,
    BenchmarkFailed,
    granian_server,
    headgate_server,
    print_environment,
    resident_mb,
)
from bench.overload import refusal_p99_ms
from bench.workshop import Verdicts, Workshop, hello, paired, recount, show

CITY_POOLS = 6_588
TOKENS = 1_200_000
UNITS = 100_000

GROWING_S = 2
"""Length of the loads that make a worker grow: short, so that the last of them overshoots by few people."""


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
    recount(data, filled + confirmed)
    shutil.rmtree(data)


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
