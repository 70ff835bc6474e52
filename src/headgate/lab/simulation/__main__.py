"""`python -m headgate.lab.simulation`: run seeds on all cores, or replay one."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.console import Console
from rich.progress import track

from .run import SeedFailed, run_seeds

CHUNK = 100
"""Seeds that a process takes at once: some seconds of work, and one template ledger."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m headgate.lab.simulation",
        description="Simulate campaigns under failures. Example: python -m headgate.lab.simulation --seeds 10000",
    )
    parser.add_argument("--seeds", type=int, default=2_000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first seed; with --seeds 1 a failure is replayed")
    arguments = parser.parse_args()
    end = arguments.first + arguments.seeds
    chunks = [range(first, min(first + CHUNK, end)) for first in range(arguments.first, end, CHUNK)]
    try:
        runs, answers = _run(chunks)
    except SeedFailed as failure:
        print(failure)
        sys.exit(1)
    print(f"{runs} seeds, {answers} answers, every invariant held")


def _run(chunks: list[range]) -> tuple[int, int]:
    """(runs, answers).  Raises SeedFailed as soon as a chunk has met one."""
    console = Console(stderr=True)
    runs = answers = 0
    with ProcessPoolExecutor(min(len(chunks), os.cpu_count() or 1) or 1) as processes:
        under_way = [processes.submit(run_seeds, chunk) for chunk in chunks]
        done = track(
            as_completed(under_way),
            total=len(chunks),
            description=f"{CHUNK} seeds each",
            console=console,
            disable=not console.is_terminal,
        )
        try:
            for future in done:
                chunk_runs, chunk_answers = future.result()
                runs += chunk_runs
                answers += chunk_answers
        except SeedFailed:
            processes.shutdown(cancel_futures=True)
            raise
    return runs, answers


if __name__ == "__main__":
    main()
