"""Who may call what: asked before every handler, and closed unless a handler says that it is public.

A request that changes something has to come from a page of this console: its `Origin` or
`Sec-Fetch-Site` must say so, and its form must carry the token of the session that it comes with.
"""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.datastructures import Headers, State
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Message, Scope

from ..ports.operators import Operator
from .desk import Desk, desk_of
from .sessions import FORM_COOKIE, SESSION_COOKIE, Session, fingerprint

PUBLIC = "public"
"""Option of a handler that answers without a session."""

BODY_MAX_BYTES = 16_384
FORM_FIELD = "token"

_READING = frozenset({"GET", "HEAD", "OPTIONS"})

_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

# `same-origin` and not `no-referrer`: with the latter browsers send `Origin: null` with their own
# forms, and where there is no Sec-Fetch-Site (plain HTTP in a local network) nothing would be left to check.
_HEADERS: list[tuple[bytes, bytes]] = [
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_NO_STORE = (b"cache-control", b"no-store")


async def add_headers(message: Message, _scope: Scope) -> None:
    """Every answer gets these, errors included; only one that says otherwise may be stored."""
    if message["type"] == "http.response.start":
        headers = [*message["headers"], *_HEADERS]
        if not any(name == b"cache-control" for name, _ in headers):
            headers.append(_NO_STORE)
        message["headers"] = headers


def same_origin(headers: Headers) -> bool:
    """Whether a browser says that the request comes from a page of this console."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin, host = headers.get("origin"), headers.get("host")
    # Only hosts are compared: where TLS ends in front of us, the scheme here is not the one the browser sees.
    return origin is not None and host is not None and origin.partition("://")[2].lower() == host.lower()


async def operator_of(desk: Desk, session: Session | None) -> Operator | None:
    """The account that a session belongs to, as it is now; None where it is gone or has another password."""
    if session is None or not session.name:
        return None
    operator = await sync_to_thread(desk.operators.find, session.name)
    return operator if operator is not None and session.fingerprint == fingerprint(operator) else None


async def admit(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """A guard of the whole application; sets `user` and `auth` of the request.

    Raises PermissionDeniedException and NotAuthorizedException.
    """
    desk = desk_of(connection)
    public = bool(handler.opt.get(PUBLIC))
    session = desk.sessions.check(connection.cookies.get(FORM_COOKIE if public else SESSION_COOKIE))
    assert isinstance(connection, Request), "the console has no WebSocket"
    if connection.method not in _READING:
        await _refuse_forged(connection, desk, session)
    if public:
        return
    operator = await operator_of(desk, session)
    if operator is None:
        raise NotAuthorizedException("Sign in to see this page.")
    connection.scope["user"], connection.scope["auth"] = operator, session


async def _refuse_forged(request: Request[Any, Any, State], desk: Desk, session: Session | None) -> None:
    if not same_origin(request.headers):
        raise PermissionDeniedException("This request came from another site, or does not say where it came from.")
    given: object = None
    if request.content_type[0] == RequestEncodingType.URL_ENCODED:
        given = (await request.form()).get(FORM_FIELD)
    if session is None or not isinstance(given, str) or not desk.sessions.form_token_matches(session, given):
        raise PermissionDeniedException("This form is too old. Go back, load the page again and repeat what you did.")
