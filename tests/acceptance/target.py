"""The server that bad input is sent to, and what it means to survive that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.client import Api, Wire, claims_path, confirmed
from tests.acceptance.product import Server, living

GROWTH_KB = 64 * 1024
"""Eleven hundred connections at once leave some 30 KB each with the allocator; what leaked by request is far more."""
SLUG = "masks"
CLAIMS = claims_path(SLUG)
ROUTES = ("/api/v1/sessions", "/api/v1/otp", "/api/v1/otp/verify", CLAIMS)
JSON = ("Content-Type", "application/json")


class Target:
    """The server under attack, what it weighed when warm, and one participant's token."""

    def __init__(self, server: Server) -> None:
        self.server, self.port = server, server.port
        self.api = Api(server.url)
        self.token = self.api.session()
        for _ in range(300):
            self.api.claim(SLUG, self.api.session())
        self.auth = ("Authorization", f"Bearer {self.token}")
        self.family, self.resident_kb = server.processes(), server.resident_kb()

    @contextmanager
    def survives(self) -> Iterator[Wire]:
        """A raw connection; afterwards every process is the same, it still sells, and memory stayed bounded."""
        logged = len(self.server.log())
        with Wire(self.port) as wire:
            yield wire
        dead = set(self.family) - set(living(self.family))
        assert not dead, f"{len(dead)} processes died of bad input\n{self.server.log()[-2000:]}"
        confirmed(self.api.claim(SLUG, self.api.session()))
        grown = self.server.resident_kb() - self.resident_kb
        assert grown < GROWTH_KB, f"memory grew by {grown // 1024} MB since the server was warm"
        news = self.server.log()[logged:]
        assert "Traceback" not in news, f"an unhandled error was logged\n{news[:2000]}"
