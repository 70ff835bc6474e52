"""Run seeds; a failure names its seed and the command that replays it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import structlog

from ...bootstrap.simulated import open_engine, upgrade
from .judge import Violation
from .loop import SimulatedLoop
from .surroundings import Parts
from .world import World


class SeedFailed(AssertionError):
    """A seed broke an invariant; the message says which, and how to see it again."""


@contextlib.contextmanager
def workshop() -> Iterator[tuple[Path, Path]]:
    """(template ledger with the schema and no rows, directory for the ledgers of runs), in memory where possible."""
    shared = Path("/dev/shm")  # noqa: S108 -- a file system in memory; the directory below it is private
    with tempfile.TemporaryDirectory(
        prefix="headgate-sim-", dir=shared if os.access(shared, os.W_OK) else None
    ) as name:
        directory = Path(name)
        template = directory / "template.db"
        engine = open_engine(template)
        upgrade(engine)
        with engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
        engine.dispose()
        yield template, directory


def run_seed(seed: int, template: Path, directory: Path, **parts: Any) -> int:
    """One run; returns the number of answers that clients got.  Raises SeedFailed."""
    loop = SimulatedLoop()
    world = World(seed, template, directory, loop, Parts(**parts))
    main = loop.create_task(world.run())
    # A failure in a callback is nobody's to wait for: it ends the run, whether the judge raised it or the product.
    unheard: list[BaseException | str] = []

    def hear(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        unheard.append(context.get("exception") or context["message"])
        main.cancel()

    loop.set_exception_handler(hear)
    try:
        with structlog.testing.capture_logs():
            loop.run_until_complete(main)
    except (Exception, asyncio.CancelledError) as error:
        raise _failure(seed, world, unheard[0] if unheard else error) from error
    finally:
        _tidy(loop, world, directory)
    if unheard:
        raise _failure(seed, world, unheard[0])
    return len(world.answers)


def _failure(seed: int, world: World, what: BaseException | str) -> SeedFailed:
    said = str(what) if isinstance(what, Violation) else repr(what)
    return SeedFailed(
        f"seed {seed}: {said}\nreplay: python -m headgate.lab.simulation --first {seed} --seeds 1\n{world.scenario}"
    )


def _tidy(loop: SimulatedLoop, world: World, directory: Path) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    with contextlib.suppress(Exception):
        loop.run_until_complete(asyncio.sleep(0))
    world.close()
    loop.close()
    for suffix in ("", "-wal", "-shm"):
        (directory / f"ledger.db{suffix}").unlink(missing_ok=True)


def run_seeds(seeds: Iterable[int], **parts: Any) -> tuple[int, int]:
    """(runs, answers).  Raises SeedFailed at the first seed that fails."""
    runs = answers = 0
    with workshop() as (template, directory):
        gc.disable()
        try:
            for seed in seeds:
                answers += run_seed(seed, template, directory, **parts)
                runs += 1
                if runs % 200 == 0:
                    gc.collect()
        finally:
            gc.enable()
            gc.collect()
    return runs, answers
