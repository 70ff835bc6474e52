"""Counts the console's own requests."""

from __future__ import annotations

import time

from litestar import Litestar
from litestar.types import Message, Receive, Scope, Send

from ..ports.telemetry import Telemetry

_OUTCOMES = {2: "ok", 3: "redirect", 4: "refused", 5: "failed"}
"""By the first digit of the status."""


def count_requests(app: Litestar, telemetry: Telemetry) -> None:
    """From now on `telemetry` hears of every request: the name of its handler, the outcome, the time it took."""
    handle = app.asgi_handler

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await handle(scope, receive, sending)
        finally:
            # What has no handler has no name either: paths that people try are endless.
            named = status != 404 and "route_handler" in scope
            route = scope["route_handler"].handler_name.rpartition(".")[2] if named else "none"
            telemetry.request(route, _OUTCOMES[status // 100], time.perf_counter() - started)

    app.asgi_handler = counted
