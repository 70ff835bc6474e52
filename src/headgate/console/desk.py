"""What the handlers of the console work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State

from ..http.address import ClientAddress
from ..ports.clock import Clock
from ..ports.nodes import NodeRegister
from ..ports.operators import Operator
from ..ports.telemetry import Telemetry
from ..services.campaigns import Campaigns
from ..services.operators import Operators
from .sessions import ConsoleSessions, Session
from .tallies import Tallies

ConsoleRequest = Request[Operator, Session, State]
"""`user` and `auth` are set by the guard wherever a handler is not public."""


class Measures(msgspec.Struct, frozen=True):
    """What is counted, here and elsewhere."""

    telemetry: Telemetry
    run_dir: Path
    """Where all processes put their counts."""
    publish: Callable[[], None]
    """Puts what `telemetry` has counted beside the counts of the other processes."""
    event_ages_s: Callable[[], Mapping[str, float]]
    """For each destination of events how long the oldest that it has not got has been waiting (s)."""


class Desk(msgspec.Struct, frozen=True):
    campaigns: Campaigns
    nodes: NodeRegister
    tallies: Tallies
    operators: Operators
    sessions: ConsoleSessions
    addresses: ClientAddress
    clock: Clock
    measures: Measures
    stylesheet: str
    """URL path of the style sheet; it names the sheet's content, so caches may keep it."""


def desk_of(connection: ASGIConnection[Any, Any, Any, State]) -> Desk:
    return cast("Desk", connection.app.state.desk)
