"""The bearer token of a request (RFC 6750)."""

from __future__ import annotations

_USUAL = "Bearer "


def bearer_token(authorization: str) -> str | None:
    """The token of an `Authorization` header; None where it names another scheme."""
    if authorization.startswith(_USUAL):
        return authorization[len(_USUAL) :]
    scheme, _, token = authorization.partition(" ")
    # The name of a scheme is read in any case (RFC 9110, 11.1).
    return token.strip() if scheme.lower() == "bearer" else None
