"""The gate that several nodes share, out of the settings.

Redis takes a tenth of a second to import, and a node without such a gate does without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from ..ports.gate import GateAway
from ..ports.limiter import Limiter
from ..settings import MEMORY_GATE, Settings, SettingsError
from ..storage.memory.limiter import MappedLimiter
from ..storage.redis.address import BadGateUrl, GateAddress, parse

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
