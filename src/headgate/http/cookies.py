"""The session cookie."""

from __future__ import annotations

SESSION_COOKIE = "hg_session"


def session_cookie(header: str | None) -> str | None:
    """The value of the session cookie in a `Cookie` header; the first one where a client sends several."""
    if header is None:
        return None
    for part in header.split(";"):
        name, _, value = part.partition("=")
        if name.strip() == SESSION_COOKIE:
            return value.strip().strip('"')
    return None


def set_session(token: str, *, max_age_s: int, secure: bool) -> str:
    """A `Set-Cookie` value: not readable by scripts, not sent from other sites' posts."""
    attributes = f"{SESSION_COOKIE}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax"
    return attributes + "; Secure" if secure else attributes
