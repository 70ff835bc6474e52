"""The gate that several nodes share, out of the settings.

Redis takes a tenth of a second to import, and a node without such a gate does without it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy import URL

from .. import __version__
from ..ports.gate import GateAway
from ..ports.ledger import ClaimLedger, DecidingLedger
from ..ports.limiter import Limiter
from ..ports.queue import ClaimQueue, WaitingClaims
from ..ports.replicas import Sources
from ..ports.shared_gate import SharedGate
from ..services.book import Ledgers
from ..services.following import GateFollower
from ..services.gated import GatedClaims, gate_rest
from ..services.shared_looks import SharedSources
from ..services.strangers import Doorkeeper, StrangerDesk
from ..settings import MEMORY_GATE, Settings, SettingsError
from ..storage.memory.limiter import MappedLimiter
from ..storage.redis.address import BadGateUrl, GateAddress, parse
from ..storage.sql.engine import ledger_id, open_engine
from ..storage.sql.ledger_process import ProcessWriter
from ..storage.sql.schema import SCHEMA_VERSION
from .ledger import ENTROPY, Place

_log = structlog.get_logger("headgate")


def gate_address(settings: Settings) -> GateAddress | None:
    """None for the gate in memory; raises SettingsError."""
    if settings.gate.url == MEMORY_GATE:
        return None
    try:
        return parse(settings.gate.url)
    except BadGateUrl as error:
        raise SettingsError(str(error)) from error


def open_limiter(
    settings: Settings, loop: asyncio.AbstractEventLoop, key: bytes, uncounted: Callable[[int], None]
) -> Limiter:
    """Counts for all nodes where they share a gate, else for all workers of this machine."""
    address = gate_address(settings)
    if address is None:
        return MappedLimiter(settings.run_dir / "limits", key)
    from ..storage.redis.limiter import RedisLimiter  # noqa: PLC0415 -- see above

    return RedisLimiter(loop, address, key, uncounted)


def open_strangers(
    settings: Settings,
    loop: asyncio.AbstractEventLoop,
    key: bytes,
    writer: ProcessWriter,
    uncounted: Callable[[int], None],
) -> StrangerDesk | None:
    """None where the ledger process of `writer` has no doorkeeper, because nodes share nothing."""
    address = gate_address(settings)
    if address is None:
        return None
    from ..storage.redis.limiter import CounterKeys  # noqa: PLC0415 -- see above

    per_minute = settings.limits.per_ip_per_minute
    return StrangerDesk(loop, writer, CounterKeys(address, key).of_address, per_minute, uncounted)


def behind_gate(claims: ClaimLedger, place: URL, gate_url: str) -> tuple[DecidingLedger, Doorkeeper]:
    """The ledger at `place`, asked through the gate that its nodes share, and who turns strangers away from it."""
    from ..storage.redis.limiter import RedisCounts  # noqa: PLC0415 -- see above

    address, rest = parse(gate_url), gate_rest(time.monotonic)
    gate = _open_gate(address, place)
    return GatedClaims(claims, gate, rest), Doorkeeper(claims, gate, RedisCounts(address), rest, time.monotonic)


def open_queue(settings: Settings, loop: asyncio.AbstractEventLoop, place: Place) -> ClaimQueue | None:
    """Where requests of queued campaigns wait; None where nodes share nothing: then they are decided at once."""
    address = gate_address(settings)
    if address is None:
        return None
    from ..storage.redis.queue import RedisQueue  # noqa: PLC0415 -- see above

    return RedisQueue(loop, address, partial(_which_ledger, place), ENTROPY)


def open_waiting_claims(settings: Settings, place: Place, consumer: str) -> WaitingClaims:
    """The same queues for the consumer of that name; raises SettingsError where there are none."""
    address = gate_address(settings)
    if address is None:
        raise SettingsError(
            f"gate.url is {MEMORY_GATE!r}, so nothing waits for a consumer; name the Redis or Valkey that the nodes "
            "share, for example redis://127.0.0.1:6379"
        )
    from ..storage.redis.queue import RedisWaitingClaims  # noqa: PLC0415 -- see above

    return RedisWaitingClaims(address, partial(_which_ledger, place), consumer)


def share_looks(settings: Settings, sources: Sources[Ledgers], place: Place) -> SharedSources | None:
    """None where nodes share nothing; an embedded ledger is looked at faster than any store."""
    address = gate_address(settings)
    if address is None or isinstance(place, Path):
        return None
    from ..storage.redis.looks import RedisLooks  # noqa: PLC0415 -- see above

    program = f"{__version__}-{SCHEMA_VERSION}"
    looks = RedisLooks(address, partial(_which_ledger, place), ENTROPY, program)
    return SharedSources(sources, looks, time.monotonic, time.sleep)


def open_follower(settings: Settings, claims: ClaimLedger, place: Place) -> GateFollower | None:
    """Who keeps the shared gate up with the ledger; None where there is none to keep.

    The embedded ledger answers faster by itself than a gate beside it could.
    """
    address = gate_address(settings)
    if address is None or isinstance(place, Path):
        return None
    return GateFollower(claims, _open_gate(address, place))


def _open_gate(address: GateAddress, place: URL) -> SharedGate:
    from ..storage.redis.gate import RedisGate  # noqa: PLC0415 -- see above

    return RedisGate(address, partial(_which_ledger, place))


def _which_ledger(place: Place) -> int:
    engine = open_engine(place)
    try:
        return ledger_id(engine)
    finally:
        engine.dispose()


def check_gate(settings: Settings) -> str:
    """What was found; raises GateUnusable, and SettingsError where the gate is not named rightly."""
    address = gate_address(settings)
    if address is None:
        return "in memory"
    from ..storage.redis.examination import examine  # noqa: PLC0415 -- see above

    return examine(address)


def prepare_gate(settings: Settings) -> None:
    """Before serving; raises GateUnusable, SettingsError.

    That the gate is away is said, and no reason to stay away too.
    """
    try:
        check_gate(settings)
    except GateAway as error:
        _log.warning("gate_away", error=str(error), action="serving without it until it is back")
