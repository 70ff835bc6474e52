"""One fault run: rounds of a sale under blows, and the judge's verdict on each."""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ..judge import Verdict, judge
from .blows import BLOWS, Blow, Stage
from .design import Sale
from .people import Plan

POOLS = 24
DEMAND = 2.0
"""People to a unit, over all pools; the best liked are wanted by ten times as many as they have."""
EXPONENT = 1.0
"""Of Zipf's law, by which people like pools."""

WATCH_S = 0.2
RESTART_S = 1.0
"""After which a process that has ended is started again, as a service manager does."""
STRIKE_FROM, STRIKE_UNTIL = 0.03, 0.9
"""Of the people served, within which blows are struck."""
PER_BLOW = 8_000
"""People to a blow, beyond one of each kind in every round."""
SETTLE_S = 2.0
"""After the last blow: longer than a node waits to look at what changed."""
CONNECTIONS = 200
CANCELLING = 0.03
"""The share of those who have something and give it back."""


class Struck(msgspec.Struct):
    """A blow as it came; times in seconds of the wall clock, `served` is how many people had their answer."""

    name: str
    served: int
    began: float
    ended: float


class Round(msgspec.Struct):
    number: int
    people: int
    seconds: float
    blows: list[Struck]
    verdict: Verdict


class Report(msgspec.Struct):
    seed: int
    rounds: list[Round]

    @property
    def ok(self) -> bool:
        return all(not round_.verdict.violations for round_ in self.rounds)


class RunFailed(Exception):
    """The run itself went wrong, so that it says nothing about what was run."""


class FaultRun:
    """`say` is told what happens."""

    def __init__(self, stage: Stage, directory: Path, seed: int, people: int, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._directory = directory
        self._seed = seed
        self._people = people
        self._say = say

    def run(self, minutes: float) -> Report:
        """Rounds until `minutes` are over, and at least one; raises RunFailed."""
        report = Report(self._seed, [])
        deadline = time.monotonic() + 60 * minutes
        with watched(self._stage):
            for number in itertools.count(1):
                report.rounds.append(self._round(number))
                if time.monotonic() > deadline:
                    return report
        raise AssertionError("count never ends")

    def _round(self, number: int) -> Round:
        rng = random.Random(f"{self._seed}-{number}")
        directory = self._directory / f"round-{number}"
        directory.mkdir()
        wanted = {f"pool-{rank:02}": 1 / rank**EXPONENT for rank in range(1, POOLS + 1)}
        units = {pool: rng.randint(1, round(2 * self._people / DEMAND / POOLS)) for pool in wanted}
        late = max(len(units) * 20, 200)
        sale = Sale(f"faults-{self._seed}-{number}", units, self._people + late, directory / "tokens")
        self._stage.design.begin(sale)
        all_tokens = sale.tokens.read_text(encoding="ascii").splitlines(keepends=True)
        rush = self._plan(sale, directory, "rush", wanted, all_tokens[: self._people])
        started = time.monotonic()
        struck = self._rush(rush, self._blows(rng), directory)
        time.sleep(SETTLE_S)
        after = self._plan(sale, directory, "late", wanted, all_tokens[self._people :], first=self._people)
        self._follow(after, directory, lambda _served: None)
        seconds = time.monotonic() - started
        self._stage.design.settle(sale)
        verdict = judge([rush.log, after.log], self._stage.ledger.primary.url, sale.slug)
        return Round(number, self._people, seconds, struck, verdict)

    def _plan(
        self, sale: Sale, directory: Path, name: str, wanted: dict[str, float], tokens: list[str], first: int = 0
    ) -> Plan:
        file = directory / f"{name}.tokens"
        file.write_text("".join(tokens), encoding="ascii")
        nodes = [node.url.removeprefix("http://") for node in self._stage.design.nodes]
        return Plan(
            nodes, sale.slug, str(file), wanted, str(directory / f"{name}.jsonl"), self._seed, first=first,
            connections=CONNECTIONS, cancelling=CANCELLING if self._stage.design.cancels else 0, late=name == "late",
        )  # fmt: skip

    def _blows(self, rng: random.Random) -> list[tuple[int, Blow]]:
        """Every kind at least once, at what number of people served."""
        kinds = [blow for blow in BLOWS if blow.part != "network" or self._stage.network is not None]
        blows = [*kinds, *rng.choices(kinds, k=self._people // PER_BLOW)]
        rng.shuffle(blows)
        moments = sorted(round(rng.uniform(STRIKE_FROM, STRIKE_UNTIL) * self._people) for _ in blows)
        return list(zip(moments, blows, strict=True))

    def _rush(self, plan: Plan, due: list[tuple[int, Blow]], directory: Path) -> list[Struck]:
        """Everybody comes, and every blow is struck at its moment, those on different parts beside each other."""
        struck: list[Struck] = []
        failed: list[BaseException] = []
        turns = {blow.part: threading.Lock() for blow in BLOWS}
        threads: list[threading.Thread] = []

        def strike(blow: Blow, served: int, seed: str) -> None:
            with turns[blow.part]:
                began = time.time()
                self._say(f"{served:>7} served: {blow.name}")
                try:
                    blow.strike(self._stage, random.Random(seed))
                except Exception as error:  # noqa: BLE001 -- raised again where the run is waited for
                    failed.append(error)
                struck.append(Struck(blow.name, served, began, time.time()))

        def progress(served: int) -> None:
            while due and due[0][0] <= served:
                _, blow = due.pop(0)
                seed = f"{plan.slug}-{len(due)}"
                threads.append(threading.Thread(target=strike, args=(blow, served, seed)))
                threads[-1].start()

        self._follow(plan, directory, progress)
        for thread in threads:
            thread.join()
        if failed:
            raise RunFailed(f"a blow could not be struck or healed: {failed[0]!r}") from failed[0]
        return struck

    def _follow(self, plan: Plan, directory: Path, progress: Callable[[int], None]) -> None:
        """Let the people of a plan come; `progress` is told how many have their answer."""
        file = directory / f"{Path(plan.log).stem}.plan.json"
        file.write_bytes(msgspec.json.encode(plan))
        command = [sys.executable, "-m", "headgate.lab.faults.people", str(file)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as people:  # noqa: S603 -- our own program
            assert people.stdout is not None, "it is a pipe"
            for line in people.stdout:
                progress(int(line))
        if people.returncode:
            raise RunFailed(f"the people ended with exit code {people.returncode}")


@contextlib.contextmanager
def watched(stage: Stage) -> Iterator[None]:
    """Whatever ends of the design's programs is started again, as a service manager does."""
    over = threading.Event()

    def watch() -> None:
        ended: dict[int, float] = {}
        while not over.wait(WATCH_S):
            for number, server in enumerate([*stage.design.nodes, *stage.design.keepers]):
                if not server.ended():
                    ended.pop(number, None)
                elif time.monotonic() - ended.setdefault(number, time.monotonic()) > RESTART_S:
                    ended.pop(number)
                    server.start()

    thread = threading.Thread(target=watch, name="watch")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
