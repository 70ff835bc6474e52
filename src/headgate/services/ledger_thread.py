"""The thread that talks to the ledger, so that a sync to disk never stops the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from ..domain.claim import ClaimRequest
from ..ports.ledger import Cancelled, DecidingLedger, Settled
from ..ports.strangers import Strangers, Turned, TurnsAway

Job = Callable[[], Any]
Done = Callable[[Any], None]


class Runner(Protocol):
    """Runs jobs one after the other, away from the event loop."""

    def run(self, job: Job, done: Done) -> None:
        """Run `job`, then call `done` on the event loop with its result, or with the exception that it raised."""
        ...


class LedgerThread:
    """One daemon thread with a queue; callers bound what they queue (a batch in flight, admitted reads)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[tuple[Job, Done] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, job: Job, done: Done) -> None:
        self._jobs.put((job, done))

    def stop(self) -> None:
        """Finish what is queued, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (work := self._jobs.get()) is not None:
            job, done = work
            result: Any
            try:
                result = job()
            except Exception as error:  # noqa: BLE001 -- whatever a job raises belongs to its caller
                result = error
            try:
                self._loop.call_soon_threadsafe(done, result)
            except RuntimeError:
                # The loop has closed: the process is ending, and nobody waits for the answer any more.
                return


class RunnerWriter:
    """A ledger that is called through a runner; see `headgate.ports.ledger.LedgerWriter`."""

    def __init__(self, ledger: DecidingLedger, runner: Runner) -> None:
        self._ledger = ledger
        self._runner = runner

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool], done: Settled) -> None:
        self._runner.run(partial(self._ledger.confirm, batch, fresh), done)

    def cancel(self, campaign_id: int, person: bytes, claim_id: str, done: Cancelled) -> None:
        self._runner.run(partial(self._ledger.cancel, campaign_id, person, claim_id), done)


class RunnerDoorkeeper:
    """A doorkeeper that is asked through a runner; see `headgate.ports.strangers.StrangerWriter`."""

    def __init__(self, doorkeeper: TurnsAway, runner: Runner) -> None:
        self._doorkeeper = doorkeeper
        self._runner = runner

    def turn_away(self, strangers: Strangers, done: Callable[[Turned | Exception], None]) -> None:
        self._runner.run(partial(self._doorkeeper.turn_away, strangers), done)
