"""One simulated campaign: its workers, its people, its operator, and everything that goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

from ...bootstrap.simulated import SqlCampaigns, SqliteClaims, SqlOutbox, open_engine
from ...domain.campaign import Campaign, Control, Mode
from ...domain.claim import LIVE, Granted, Queued
from ...domain.outcome import SOLD_OUT, STORE_UNAVAILABLE, Outcome, Refusal
from ...participant.claims import ClaimBody, Told
from ...participant.own import Own
from ...participant.refused import Refused
from ...ports import strangers
from ...ports.gate import GateAway
from ...services import operating
from ...services.following import GateFollower
from ...services.relaying import Relay, Tenure
from ...services.sessions import Session
from .consuming import ConsumerProcess
from .judge import Answer, Judge, ToldEvent, Violation
from .looks import SimulatedStore
from .queue import SimulatedQueue
from .receiver import SimulatedReceiver
from .scenario import FAULTS, START_MS, WINDOW_MS, Scenario, SeededEntropy, SimulatedClock
from .shared_gate import SimulatedGate
from .surroundings import Parts
from .worker import Worker, WorkerDied

SLUG = "sim"
RETRY_MAX = 60
"""Tries of one person for a definite answer; each waits, so that a crashed worker has come back meanwhile."""

PROBE_MS = 8_000
"""A stranger needs this much of the window to be sure of an answer other than `closed`."""

CONSUMERS = 2

SETTLE_S = 6.0
"""Longer than a restart, a refresh and the slowest step together."""


class World:
    def __init__(
        self, seed: int, template: Path, directory: Path, loop: asyncio.AbstractEventLoop, parts: Parts
    ) -> None:
        self.parts = parts
        self.rng = random.Random(seed)
        self.loop = loop
        self.scenario = Scenario.of(self.rng)
        self.shared_gate = SimulatedGate()
        self.looks = SimulatedStore(loop.time)
        self.receiver = SimulatedReceiver("webhook:sim", accounts=self.scenario.receivers_account)
        self.path = directory / "ledger.db"
        shutil.copyfile(template, self.path)
        self.authority = SimulatedClock(loop)
        self.entropy = SeededEntropy(self.rng)
        self._engine = open_engine(self.path)
        self.campaigns = SqlCampaigns(self._engine, self.authority)
        self.control = "active"
        self.faults_on = True
        self.queue = SimulatedQueue(loop.time, self.entropy)
        self.answers: list[Answer] = []
        self.workers: list[Worker] = []
        self.consumers = [ConsumerProcess(self, number) for number in range(CONSUMERS * self.scenario.queued)]
        self._queue_lost_at: list[float] = []

    @property
    def mode(self) -> str:
        return Mode.QUEUED if self.scenario.queued else Mode.IMMEDIATE

    def delay(self) -> float:
        """Seconds that a step takes: mostly short, sometimes very long."""
        return self.rng.uniform(0.5, 3.0) if self.rng.random() < 0.03 else self.rng.uniform(0.0005, 0.02)

    def pick_fault(self) -> str | None:
        if not self.faults_on or self.rng.random() >= self.scenario.fault_rate:
            return None
        return self.rng.choice(FAULTS)

    async def run(self) -> None:
        """Raises Violation."""
        campaign = self._create()
        self.pool_ids = {item.code: item.id for item in campaign.pools}
        self.judge = Judge(self.path, campaign.opens_at_ms, campaign.closes_at_ms, self.scenario.per_person)
        self.workers = [Worker(self, number) for number in range(self.scenario.workers)]
        for worker in self.workers:
            worker.start()
        for consumer in self.consumers:
            consumer.start()
        duties = [
            self._operate(), self._erase_gates(), self._follow(), self._trouble_the_shared_gate(), self._relay()
        ]  # fmt: skip
        if self.scenario.queued:
            duties.append(self._trouble_the_queue())
        chaos = [self.loop.create_task(duty) for duty in duties]
        people = [self._person(number) for number in range(self.scenario.persons)]
        await asyncio.gather(*people)
        for task in chaos:
            task.cancel()
        await asyncio.gather(*chaos, return_exceptions=True)
        await self._what_is_left_can_be_had()
        self.judge.after_commit(self.loop.time(), self.control)
        self.judge.verdict(self.answers)
        self.judge.received(self._everything_told())

    def close(self) -> None:
        for worker in self.workers:
            if worker.alive:
                worker.connection.close()
        for consumer in self.consumers:
            consumer.close()
        self.judge.close()
        self._engine.dispose()

    def _create(self) -> Campaign:
        """Fill in the campaign that the template holds; a copy of a file is faster than migrating anew."""
        opens_ms = START_MS + self.rng.randint(0, 3_000)
        with self._engine.execution_options(immediate=True).begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO campaign (id, slug, kind, title, opens_at, closes_at, utc_offset_s, per_person, rehearsal,"
                " verification, control, version, created_at, mode) VALUES (1, ?, 'first_come', '{}', ?, ?, 0, ?, 0,"
                " 'none', 'active', 1, 0, ?)",
                (SLUG, opens_ms, opens_ms + WINDOW_MS, self.scenario.per_person, self.mode),
            )
            for code, units in self.scenario.pools.items():
                connection.exec_driver_sql(
                    "INSERT INTO pool (campaign_id, code, label, capacity, remaining, version)"
                    " VALUES (1, ?, '{}', ?, ?, 1)",
                    (code, units, units),
                )
        return self.campaigns.campaign(SLUG)

    async def _operate(self) -> None:
        """Now and then the operator pauses, resumes or adds stock."""
        while True:
            await asyncio.sleep(self.rng.uniform(1.0, 8.0))
            if self.rng.random() < 0.5:
                paused = self.control == "active"
                control = Control.PAUSED if paused else Control.ACTIVE
                operating.command(self.campaigns, SLUG, "pause" if paused else "resume", actor="sim")
                self.control = str(control)
            else:
                pool = self.rng.choice(list(self.scenario.pools))
                self.campaigns.topup(SLUG, pool, self.rng.randint(1, 3), actor="sim")
            self.judge.after_commit(self.loop.time(), self.control)

    async def _erase_gates(self) -> None:
        while True:
            await asyncio.sleep(self.rng.uniform(0.5, 6.0))
            if self.faults_on and self.scenario.fault_rate:
                self.rng.choice(self.workers).gate.forget(1)

    async def _follow(self) -> None:
        """The keeper brings the shared gate up to the ledger, mostly in time."""
        claims = SqliteClaims(self.path, self.authority, self.entropy)
        follower = GateFollower(claims, self.shared_gate)
        try:
            while True:
                with contextlib.suppress(GateAway):
                    follower.turn([1])
                await asyncio.sleep(self.delay() + 0.1)
        finally:
            claims.close()

    async def _trouble_the_shared_gate(self) -> None:
        """It is erased, falls back to what its replica had got, and goes away for a while."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.1, 2.0))
            self.shared_gate.away = self.looks.away = False
            if self.faults_on and self.scenario.fault_rate:
                trouble = self.rng.choice(["replicate", "replicate", "fail_over", "flush", "away"])
                for part in (self.shared_gate, self.looks):
                    if trouble == "away":
                        part.away = True
                    else:
                        getattr(part, trouble)()

    async def _trouble_the_queue(self) -> None:
        """The same for the queue, which loses what waits there."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.1, 2.0))
            self.queue.away = False
            if self.faults_on and self.scenario.fault_rate:
                trouble = self.rng.choice(["replicate", "replicate", "fail_over", "flush", "away"])
                if trouble == "away":
                    self.queue.away = True
                else:
                    getattr(self.queue, trouble)()
                if trouble in ("fail_over", "flush"):
                    self._queue_lost_at.append(self.loop.time())

    async def _relay(self) -> None:
        """A keeper tells the receiver; now and then it dies and another begins, or two are at it for a while."""
        relays = [self._new_relay(), self._new_relay()]
        while True:
            relay = self.rng.choice(relays) if self.rng.random() < 0.2 else relays[0]
            await asyncio.sleep(relay.step() + self.rng.uniform(0.5, 5.0))
            if self.faults_on and self.scenario.fault_rate:
                self.receiver.away = self.rng.random() < 0.2
                self.receiver.loses_answers = self.rng.random() < 0.2
                trouble = self.rng.choice(["replicate", "fail_over", "flush", "keeper_dies"])
                if trouble == "keeper_dies":
                    relays.insert(0, self._new_relay())
                    relays.pop()
                elif self.scenario.receivers_account:
                    getattr(self.receiver, trouble)()

    def _new_relay(self) -> Relay:
        tenure = Tenure(self.loop.time)
        tenure.extend(float("inf"))
        return self.parts.make_relay(SqlOutbox(self._engine), self.receiver, tenure, self.entropy)

    def _everything_told(self) -> list[ToldEvent]:
        """What the receiver has got once nothing fails any more, in the order in which it came."""
        self.receiver.away = self.receiver.loses_answers = False
        relay = self._new_relay()
        while relay.step() == 0.0:
            pass
        return [
            ToldEvent(
                event.id, event.kind, event.claim_id, event.campaign, event.pool, event.at_ms, str(event.position)
            )
            for event in self.receiver.got
        ]

    async def _person(self, number: int) -> None:
        """Wants a place, asks until the answer is definite, asks again, cancels, is sent twice by the network."""
        rng = self.rng
        person = rng.randbytes(16)
        await asyncio.sleep(rng.uniform(0.0, 6.0))
        for intent in range(self.scenario.per_person + (rng.random() < self.scenario.repeats)):
            pool = rng.choice(list(self.scenario.pools))
            key = f"{number}-{intent}" if rng.random() < self.scenario.keyed else None
            granted = await self._insist(person, pool, key)
            if granted is not None and rng.random() < 0.2:
                await self._cancel(person, granted.claim.id)
                if key is not None:
                    await self._ask(person, pool, key)

    async def _insist(self, person: bytes, pool: str, key: str | None) -> Granted | None:
        """Ask until somebody says yes or no; what is in doubt is asked again, as a browser does."""
        for _ in range(RETRY_MAX):
            twins = [self._ask(person, pool, key)]
            if self.rng.random() < self.scenario.repeats:
                twins.append(self._ask(person, pool, key))
            for decision in await asyncio.gather(*twins):
                if isinstance(decision, Granted):
                    return decision
                if isinstance(decision, Refusal) and decision.outcome in ("sold_out", "limit_reached", "closed"):
                    return None
            await asyncio.sleep(self.rng.uniform(0.05, 1.5))
        return None

    async def _ask(self, person: bytes, pool: str, key: str | None) -> Granted | Refusal | None:
        worker = self.rng.choice(self.workers)
        await asyncio.sleep(self.delay())
        sent_at = self.loop.time()
        try:
            told: Told = await worker.call(partial(self._handle, worker, person, pool, key))
        except WorkerDied:
            return None
        await asyncio.sleep(self.delay() / 4)
        if isinstance(told, Queued):
            return await self._wait(person, pool, sent_at)
        self._hears(told, person, pool, key, sent_at)
        return told

    async def _wait(self, person: bytes, pool: str, asked_at: float) -> Granted | Refusal | None:
        """Look until nothing waits any more; None for somebody who has to ask again."""
        for _ in range(RETRY_MAX):
            await asyncio.sleep(self.rng.uniform(0.05, 0.8))
            worker = self.rng.choice(self.workers)
            sent_at = self.loop.time()
            try:
                own: Own = await worker.call(partial(self._look, worker, person))
            except (WorkerDied, Refused):
                continue
            await asyncio.sleep(self.delay() / 4)
            state = own.state
            assert state is not None, "the campaign is queued"
            if state.pending is not False:
                continue
            if state.outcome:
                lost = any(asked_at <= moment for moment in self._queue_lost_at)
                if lost or state.pool_id != self.pool_ids[pool]:
                    # Of an older request: somebody took it for lost, or the queue fell back to it.
                    return None
                refusal = Refusal(Outcome(state.outcome), "", state.reason or None)
                self._hears(refusal, person, pool, None, sent_at, asked_at)
                return refusal
            live = [claim for claim in own.claims if claim.status in LIVE]
            for claim in live:
                self._hears(Granted(claim, True), person, claim.pool_code, None, sent_at)
            if not own.claims:
                self.judge.nothing_left(person, asked_at, self.loop.time(), self._queue_lost_at)
            return Granted(live[-1], True) if live else None
        return None

    def _look(self, worker: Worker, person: bytes) -> Awaitable[Own]:
        return self.parts.look_up(worker, worker.book.get(SLUG), person)

    def _hears(
        self,
        decision: Granted | Refusal,
        person: bytes,
        pool: str,
        key: str | None,
        sent_at: float,
        asked_at: float | None = None,
    ) -> None:
        """`asked_at` is when they asked for what was decided, where that was another request than the one sent now."""
        granted = decision if isinstance(decision, Granted) else None
        answer = Answer(
            person=person,
            pool=pool,
            key=key,
            body=pool,
            sent_at=sent_at,
            answered_at=self.loop.time(),
            outcome=str(decision.outcome) if isinstance(decision, Refusal) else "granted",
            claim_id=granted.claim.id if granted else None,
            code=granted.claim.code if granted else None,
            made=granted is not None and not granted.repeated,
        )
        self.judge.told(answer if asked_at is None else answer._replace(sent_at=asked_at))
        self.answers.append(answer)

    async def _handle(self, worker: Worker, person: bytes, pool: str, key: str | None) -> Told:
        """What the participant's route does with a request that has been read."""
        entry = worker.book.get(SLUG)
        assert entry is not None, "a worker begins with the campaigns of the ledger"
        session = Session(person, verified=False, synthetic=False)
        desk = worker.form.strangers
        if desk is not None and desk.receives(entry, worker.clock.now_ms()):
            told: asyncio.Future[int] = self.loop.create_future()
            desk.ask(entry, person, "", told.set_result)
            match await told:
                case strangers.TURNED_AWAY:
                    return SOLD_OUT
                case strangers.UNANSWERED:
                    return STORE_UNAVAILABLE
        early = worker.form.refuse_early(entry, session, worker.clock.now_ms())
        if early is not None:
            return early
        asked = worker.form.ask(entry, session, key, ClaimBody(pool))
        return asked if isinstance(asked, Granted | Queued | Refusal) else await asked

    async def _cancel(self, person: bytes, claim_id: str) -> None:
        worker = self.rng.choice(self.workers)
        try:
            await worker.call(partial(self._cancel_at, worker, person, claim_id))
        except WorkerDied:
            return

    async def _cancel_at(self, worker: Worker, person: bytes, claim_id: str) -> None:
        await worker.desk.cancel(1, person, claim_id)

    async def _what_is_left_can_be_had(self) -> None:
        """Once nothing fails any more, a stranger gets a unit of every pool that has one."""
        self.faults_on = self.queue.away = False
        if self.control != Control.ACTIVE:
            operating.command(self.campaigns, SLUG, "resume", actor="sim")
            self.control = str(Control.ACTIVE)
        await asyncio.sleep(SETTLE_S)
        for pool, units in self.judge.remaining().items():
            time_left_ms = START_MS + WINDOW_MS - self.authority.now_ms() - 2 * self.scenario.skew_ms
            if units and time_left_ms > PROBE_MS:
                granted = await self._insist(self.rng.randbytes(16), pool, None)
                if granted is None and self.judge.remaining()[pool]:
                    raise Violation(f"X2 pool {pool} has {units} units that nobody can get")
