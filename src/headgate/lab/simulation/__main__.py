"""`python -m headgate.lab.simulation`: run seeds, or replay one."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.progress import track

from .run import SeedFailed, run_seeds


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m headgate.lab.simulation",
        description="Simulate campaigns under failures. Example: python -m headgate.lab.simulation --seeds 10000",
    )
    parser.add_argument("--seeds", type=int, default=2_000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed; with --seeds 1 a failure is replayed")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    try:
        runs, answers = run_seeds(track(seeds, description="seeds", console=console, disable=not console.is_terminal))
    except SeedFailed as failure:
        print(failure)
        sys.exit(1)
    print(f"{runs} seeds, {answers} answers, every invariant held")


main()
