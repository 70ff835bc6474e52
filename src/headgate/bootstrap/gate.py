"""The gate that several nodes share, out of the settings.

Redis takes a tenth of a second to import, and a node without such a gate does without it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy import URL

from ..ports.gate import GateAway
from ..ports.ledger import ClaimLedger, DecidingLedger
from ..ports.limiter import Limiter
from ..ports.shared_gate import SharedGate
from ..services.following import GateFollower
from ..services.gated import GatedClaims
from ..settings import MEMORY_GATE, Settings, SettingsError
from ..storage.memory.limiter import MappedLimiter
from ..storage.redis.address import BadGateUrl, GateAddress, parse
from ..storage.sql.engine import ledger_id, open_engine
from .ledger import Place

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


def behind_gate(claims: ClaimLedger, place: URL, gate_url: str) -> DecidingLedger:
    """The ledger at `place`, asked through the gate that its nodes share."""
    return GatedClaims(claims, _open_gate(parse(gate_url), place), time.monotonic)


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

    def which_ledger() -> int:
        engine = open_engine(place)
        try:
            return ledger_id(engine)
        finally:
            engine.dispose()

    return RedisGate(address, which_ledger)


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
