"""What the server (RSGI, https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md) hands over."""

from __future__ import annotations

from typing import Protocol

from ..http.bodies import Responder

__all__ = ["RequestHeaders", "Responder", "Scope"]


class RequestHeaders(Protocol):
    def get(self, name: str) -> str | None: ...

    def get_all(self, name: str) -> list[str]: ...

    def __contains__(self, name: str) -> bool: ...


class Scope(Protocol):
    proto: str
    path: str
    query_string: str
    method: str
    client: str
    scheme: str
    headers: RequestHeaders
