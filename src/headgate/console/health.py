"""Health and metrics: what machines ask.

All of it answers without a session; the console listens on loopback unless it is told otherwise, and
nothing here is about a person.
"""

from __future__ import annotations

from typing import Any

import structlog
from litestar import HttpMethod, Request, route
from litestar.datastructures import State
from litestar.response import Response

from .desk import desk_of
from .guard import PUBLIC
from .metrics import CONTENT_TYPE, HeadgateCollector, exposition

_log = structlog.get_logger("headgate.console")

Question = Request[Any, Any, State]

# Whoever only watches asks with HEAD.
_ASKED_WITH = [HttpMethod.GET, HttpMethod.HEAD]


@route("/livez", http_method=_ASKED_WITH, opt={PUBLIC: True}, sync_to_thread=False, media_type="text/plain")
def livez() -> str:
    """The process answers."""
    return "live\n"


@route("/readyz", http_method=_ASKED_WITH, opt={PUBLIC: True}, sync_to_thread=True)
def readyz(request: Question) -> Response[str]:
    """The ledger answers, too."""
    try:
        desk_of(request).operators.count()
    except Exception as error:  # noqa: BLE001 -- whatever keeps the ledger from answering makes this node not ready
        _log.warning("not_ready", error=str(error), kind=type(error).__name__)
        return Response("the ledger does not answer\n", status_code=503, media_type="text/plain")
    return Response("ready\n", media_type="text/plain")


@route("/metrics", http_method=_ASKED_WITH, opt={PUBLIC: True}, sync_to_thread=True)
def metrics(request: Question) -> Response[bytes]:
    desk = desk_of(request)
    desk.measures.publish()
    collector = HeadgateCollector(desk.measures.run_dir, desk.campaigns, desk.tallies, desk.measures.event_ages_s)
    return Response(exposition(collector), headers={"content-type": CONTENT_TYPE})
