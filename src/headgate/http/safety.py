"""Whether a request that changes something was made by another site's page."""

from __future__ import annotations

from typing import Protocol


class Headers(Protocol):
    def get(self, name: str) -> str | None: ...


def cross_site(headers: Headers) -> bool:
    """True for a cookie-carrying request that a page of another site made.

    Browsers say where a request comes from in `Sec-Fetch-Site`; older ones at least in `Origin`.  A
    client that sends neither is no browser, and a bearer token is not sent by itself.
    """
    if headers.get("authorization") is not None:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    return origin.partition("://")[2] != headers.get("host")
