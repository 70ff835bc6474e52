"""What the processes of a simulated world find around them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from ...bootstrap.simulated import MemoryGate, SqlCampaigns, SqliteClaims
from ...participant.own import Own, look_up
from ...ports.ledger import DecidingLedger
from ...ports.replicas import Sources
from ...services.book import Ledgers
from ...services.claiming import ClaimDesk
from ...services.consuming import Consumer
from ...services.gated import GatedClaims, gate_rest
from ...services.relaying import Relay
from ...services.shared_looks import SharedSources
from ...services.strangers import Doorkeeper
from .judge import Judge
from .looks import SimulatedStore
from .queue import SimulatedQueue
from .scenario import NoLimiter, Scenario, SeededEntropy, SimulatedClock
from .shared_gate import SimulatedGate


class Parts(NamedTuple):
    """The parts under test; a test plants a bug by passing another one."""

    make_gate: Callable[..., MemoryGate] = MemoryGate
    make_desk: Callable[..., ClaimDesk] = ClaimDesk
    make_claims: Callable[..., SqliteClaims] = SqliteClaims
    make_gated: Callable[..., DecidingLedger] = GatedClaims
    make_doorkeeper: Callable[..., Doorkeeper] = Doorkeeper
    make_shared: Callable[..., Sources[Ledgers]] = SharedSources
    make_relay: Callable[..., Relay] = Relay
    make_consumer: Callable[..., Consumer] = Consumer
    look_up: Callable[..., Awaitable[Own]] = look_up


class Surroundings(Protocol):
    rng: random.Random
    loop: asyncio.AbstractEventLoop
    scenario: Scenario
    path: Path
    authority: SimulatedClock
    entropy: SeededEntropy
    campaigns: SqlCampaigns
    judge: Judge
    control: str
    parts: Parts
    shared_gate: SimulatedGate
    queue: SimulatedQueue
    looks: SimulatedStore

    def delay(self) -> float: ...

    def pick_fault(self) -> str | None: ...


def behind_gate(world: Surroundings, claims: SqliteClaims) -> tuple[DecidingLedger, Doorkeeper | None]:
    """As nodes on a server's ledger ask it, in the runs that have a shared gate."""
    if not world.scenario.shared_gate:
        return claims, None
    gate, now_s = world.shared_gate, world.loop.time
    rest = gate_rest(now_s)
    doorkeeper = world.parts.make_doorkeeper(claims, gate, NoLimiter(), rest, now_s)
    return world.parts.make_gated(claims, gate, rest), doorkeeper
