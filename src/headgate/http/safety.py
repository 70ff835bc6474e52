"""What a request's headers say about where it was made, and how it came here."""

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


def over_tls(scheme: str, headers: Headers) -> bool:
    """Whether the browser's connection is encrypted, here or at a proxy in front.

    Anybody may send `X-Forwarded-Proto`, but whoever forges it only makes their own cookie stricter.
    """
    return scheme == "https" or headers.get("x-forwarded-proto") == "https"
