"""One simulated worker process and its ledger thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from ...bootstrap.simulated import SqliteClaims
from ...participant.claims import ClaimForm
from ...participant.reader import Reader
from ...ports.ledger import LedgerBroken, LedgerError, LedgerInDoubt, LedgerUnavailable
from ...ports.replicas import Sources
from ...services.book import REFRESH_S, CampaignBook, Ledgers, News, Refresher
from ...services.ledger_thread import RunnerDoorkeeper, RunnerWriter
from ...services.limits import Limits
from ...services.primary_alone import PrimaryAlone
from ...services.queued import QueuedDesk
from ...services.stock import StockBoard
from ...services.strangers import StrangerDesk
from .consuming import FarQueue
from .faults import FaultyConnection
from .scenario import NoLimiter, Silence, SimulatedClock
from .surroundings import Surroundings, behind_gate


class WorkerDied(Exception):
    """The connection to a worker broke; the client cannot know what became of its request."""


class SimulatedRunner:
    """The ledger thread: one job at a time, after a delay, with failures around and inside it."""

    def __init__(self, world: Surroundings, worker: Worker) -> None:
        self._world = world
        self._worker = worker
        self._busy_until = 0.0

    def run(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        world = self._world
        start = max(self._busy_until, world.loop.time()) + world.delay()
        self._busy_until = start
        world.loop.call_at(start, self._work, job, done)

    def _work(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        world, worker = self._world, self._worker
        if not worker.alive or worker.runner is not self:
            return
        fault = world.pick_fault()
        if fault == "crash_before":
            worker.kill()
            return
        if fault == "statement":
            worker.connection.arm(world.rng)
        result: Any
        try:
            if fault == "unavailable":
                raise LedgerUnavailable("injected")
            if fault == "doubt_before":
                raise LedgerInDoubt("injected")
            result = job()
            if fault == "doubt_after":
                raise LedgerInDoubt("injected")
            if fault == "broken_after":
                raise LedgerBroken("injected")
        except Exception as error:  # noqa: BLE001 -- as the real thread does
            result = error
        worker.connection.disarm()
        world.judge.after_commit(world.loop.time(), world.control)
        if fault == "crash_after":
            worker.kill()
            return
        world.loop.call_later(world.delay(), self._deliver, done, result)

    def _deliver(self, done: Callable[[Any], None], result: Any) -> None:
        if self._worker.alive and self._worker.runner is self:
            done(result)


class Worker:
    """One process: everything in it is lost when it is killed."""

    def __init__(self, world: Surroundings, number: int) -> None:
        self._world = world
        self.number = number
        self.alive = False
        self.connection: FaultyConnection
        # In order of arrival: a set would break connections in another order with every run.
        self._requests: dict[asyncio.Future[Any], None] = {}

    def start(self) -> None:
        world = self._world
        rng = world.rng
        self.clock = SimulatedClock(world.loop, rng.randint(-world.scenario.skew_ms, world.scenario.skew_ms))
        exclusive = world.scenario.workers == 1
        claims = world.parts.make_claims(world.path, world.authority, world.entropy)
        self.connection = FaultyConnection(claims._connection)
        claims._connection = self.connection  # type: ignore[assignment]
        self._claims = claims
        board = StockBoard()
        self.gate = world.parts.make_gate(board, exclusive=exclusive)
        sources: Sources[Ledgers] = PrimaryAlone(Ledgers(world.campaigns, claims))
        if world.scenario.shared_gate and not exclusive:
            sources = world.parts.make_shared(sources, world.looks.looks(), world.loop.time, lambda _s: None)
        self._refresher = Refresher(sources, self.clock, exclusive=exclusive)
        self.book = CampaignBook(board, self.gate, queues=True)
        self.runner = SimulatedRunner(world, self)
        ledger, doorkeeper = behind_gate(world, claims)
        writer = RunnerWriter(ledger, self.runner)
        self.desk = world.parts.make_desk(
            world.loop,
            writer,
            self.gate,
            board,
            Silence(),
            self._refresher.read_again,
            self.kill,
        )
        self.queued = QueuedDesk(FarQueue(world), self.desk, self.clock)
        strangers = None
        if doorkeeper is not None:
            asked = RunnerDoorkeeper(doorkeeper, self.runner)
            strangers = StrangerDesk(world.loop, asked, str.encode, 0, lambda _requests: None)
        limits = Limits(NoLimiter(), 0)
        self.form = ClaimForm(self.desk, self.gate, limits, Silence(), b"k" * 32, self.queued, strangers)
        self.reader = Reader(world.loop, claims, self.runner)
        self.alive = True
        self.book.take_all(self._refresher.look())
        world.loop.call_later(REFRESH_S, self._look, claims)

    def permit(self) -> contextlib.nullcontext[None]:
        """Nothing in here is a matter of admission."""
        return contextlib.nullcontext()

    def _look(self, claims: SqliteClaims) -> None:
        """The watcher's turn; what it read is taken over a little later, as by another thread."""
        if not self.alive or self._claims is not claims:
            return
        if self._world.pick_fault() is not None:
            self.connection.arm(self._world.rng)
        try:
            found = self._refresher.look()
        except LedgerError:
            found = []
        self.connection.disarm()
        for news in found:
            self._world.loop.call_later(self._world.delay(), self._take, claims, news)
        self._world.loop.call_later(REFRESH_S, self._look, claims)

    def _take(self, claims: SqliteClaims, news: News) -> None:
        if self.alive and self._claims is claims:
            self.book.take(news)

    def kill(self) -> None:
        """kill -9: memory is gone, connections break, another process starts after a while."""
        if not self.alive:
            return
        self.alive = False
        self.connection.close()
        for request in self._requests:
            if not request.done():
                request.set_exception(WorkerDied())
        self._requests.clear()
        self._world.loop.call_later(self._world.rng.uniform(0.2, 2.0), self.start)

    async def call(self, handler: Callable[[], Any]) -> Any:
        """What a client sees of a request: its answer, or a broken connection."""
        if not self.alive:
            raise WorkerDied
        broken: asyncio.Future[Any] = self._world.loop.create_future()
        self._requests[broken] = None
        task = self._world.loop.create_task(handler())
        try:
            await asyncio.wait([task, broken], return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                task.cancel()
                raise WorkerDied
            return task.result()
        finally:
            self._requests.pop(broken, None)
            if broken.done():
                broken.exception()
