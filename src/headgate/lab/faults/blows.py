"""What can happen to the stage: each blow lasts a while, and is healed as an operator's tools would do it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import redis
import redis.exceptions

from ..servers.apart import Network
from ..servers.pair import Pair, Replica
from ..servers.process import READY_S, Server, descendants
from ..servers.valkey import ValkeyCluster
from .design import Design

FREEZE_MAX_S = 4.0
CUT_MAX_S = 8.0
AWAY_MAX_S = 3.0
"""How long what was killed stays away, before somebody starts it again."""


class Stage(NamedTuple):
    """All that runs."""

    design: Design
    ledger: Pair
    gate: ValkeyCluster
    replica: Replica | None
    network: Network | None
    """Of the replica; both are None where this machine lets us make no network."""


class Blow(NamedTuple):
    """`part` is struck by one blow at a time; what it does begins again before the next."""

    name: str
    part: str
    strike: Callable[[Stage, random.Random], None]


def node_killed(stage: Stage, rng: random.Random) -> None:
    """All processes of a node at once; whoever watches over them starts it again."""
    node = rng.choice(stage.design.nodes)
    node.kill()
    _until_ready(node)


def node_process_killed(stage: Stage, rng: random.Random) -> None:
    """One of a node's processes, which the others have to notice."""
    node = rng.choice(stage.design.nodes)
    assert node.process is not None, "it was started"
    family = descendants(node.process.pid)
    if family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(family), signal.SIGKILL)
    _until_ready(node)


def node_frozen(stage: Stage, rng: random.Random) -> None:
    node = rng.choice(stage.design.nodes)
    _frozen(node, rng)
    _until_ready(node)


def keeper_killed(stage: Stage, rng: random.Random) -> None:
    rng.choice(stage.design.keepers).kill()


def keeper_frozen(stage: Stage, rng: random.Random) -> None:
    """Longer than its lease lasts: another takes over, and this one has to notice."""
    keeper = rng.choice(stage.design.keepers)
    keeper.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(5.5, 7.0))
    keeper.signal(signal.SIGCONT)


def gate_primary_killed(stage: Stage, rng: random.Random) -> None:
    """Its replica takes over; it comes back as a replica, with nothing on its disk."""
    _killed(rng.choice(_gate_primaries(stage)), rng)


def gate_primary_frozen(stage: Stage, rng: random.Random) -> None:
    """It is taken for dead, and wakes up in the belief that it is the primary."""
    _frozen(rng.choice(_gate_primaries(stage)), rng)


def gate_flushed(stage: Stage, rng: random.Random) -> None:  # noqa: ARG001 -- all of it
    for server in _gate_primaries(stage):
        client = redis.Redis.from_url(server.url)
        client.flushall()
        client.close()


def ledger_killed(stage: Stage, rng: random.Random) -> None:
    """It recovers from its own disk."""
    with stage.ledger.turn:
        _killed(stage.ledger.primary, rng)


def ledger_frozen(stage: Stage, rng: random.Random) -> None:
    with stage.ledger.turn:
        _frozen(stage.ledger.primary, rng)


def ledger_promoted(stage: Stage, rng: random.Random) -> None:
    """The primary is lost with its disk, its synchronous standby takes over, and a new standby is made."""
    pair = stage.ledger
    with pair.turn:
        pair.primary.kill()
        time.sleep(rng.uniform(0, 1))
        pair.promote()
        time.sleep(rng.uniform(0, AWAY_MAX_S))
        pair.attach()
        if stage.replica is not None:
            stage.replica.catch_up()


def standby_killed(stage: Stage, rng: random.Random) -> None:
    """Until it is given up, the primary waits for it at every commit."""
    pair = stage.ledger
    with pair.turn:
        assert pair.standby is not None, "every blow leaves one"
        pair.standby.kill()
        time.sleep(rng.uniform(0, AWAY_MAX_S))
        pair.unguard()
        time.sleep(rng.uniform(0, AWAY_MAX_S))
        pair.standby.again()
        pair.guard()


def replica_cut_off(stage: Stage, rng: random.Random) -> None:
    """Its packets are dropped, so that nobody is told that it is away."""
    assert stage.network is not None, "the blow is struck only where there is one"
    stage.network.cut()
    time.sleep(rng.uniform(1, CUT_MAX_S))
    stage.network.join()


BLOWS = (
    Blow("a node is killed", "nodes", node_killed),
    Blow("a process of a node is killed", "nodes", node_process_killed),
    Blow("a node is frozen", "nodes", node_frozen),
    Blow("a keeper is killed", "keepers", keeper_killed),
    Blow("a keeper is frozen beyond its lease", "keepers", keeper_frozen),
    Blow("a primary of the gate is killed", "gate", gate_primary_killed),
    Blow("a primary of the gate is frozen", "gate", gate_primary_frozen),
    Blow("the gate is flushed", "gate", gate_flushed),
    Blow("the ledger is killed and recovers", "ledger", ledger_killed),
    Blow("the ledger is frozen", "ledger", ledger_frozen),
    Blow("the ledger is lost and its standby takes over", "ledger", ledger_promoted),
    Blow("the ledger's standby is killed", "ledger", standby_killed),
    Blow("the ledger's replica is cut off", "network", replica_cut_off),
)


def _killed(server: Server, rng: random.Random) -> None:
    server.kill()
    time.sleep(rng.uniform(0, AWAY_MAX_S))
    server.again()


def _frozen(server: Server, rng: random.Random) -> None:
    server.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(0.5, FREEZE_MAX_S))
    server.signal(signal.SIGCONT)


def _until_ready(node: Server) -> None:
    deadline = time.monotonic() + READY_S
    while not node.ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{node.url} did not come back within {READY_S:.0f} s; its log says why")
        time.sleep(0.1)


def _gate_primaries(stage: Stage) -> list[Server]:
    found = []
    for server in stage.gate.servers:
        client = redis.Redis.from_url(server.url, socket_timeout=1)
        try:
            if client.info("replication")["role"] == "master":
                found.append(server)
        except redis.exceptions.RedisError:
            continue
        finally:
            client.close()
    return found
