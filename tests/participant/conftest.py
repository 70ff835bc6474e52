"""Event loops as the server's worker has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from headgate.http.driving import drive_requests


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop on which requests are driven without tasks."""
    loop: asyncio.AbstractEventLoop = request.param()
    drive_requests(loop)
    yield loop
    loop.close()
