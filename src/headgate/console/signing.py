"""Signing in and out."""

from __future__ import annotations

from typing import Any

import structlog
from litestar import Request, get, post
from litestar.concurrency import sync_to_thread
from litestar.datastructures import Cookie, State
from litestar.response import Redirect, Response, Template

from ..http.safety import over_tls
from ..services.operators import SignInRefused
from .desk import ConsoleRequest, Desk, desk_of
from .guard import PUBLIC, operator_of
from .sessions import FORM_COOKIE, SESSION_COOKIE, SESSION_TTL_S

_log = structlog.get_logger("headgate.console")

Visit = Request[None, None, State]


@get("/login", opt={PUBLIC: True})
async def login_page(request: Visit) -> Response[Any]:
    desk = desk_of(request)
    session = desk.sessions.check(request.cookies.get(SESSION_COOKIE))
    if await operator_of(desk, session) is not None:
        return Redirect("/", status_code=303)
    # A token that is good already is kept, so that the form in another tab stays good.
    token = request.cookies.get(FORM_COOKIE, "")
    if desk.sessions.check(token) is None:
        token = desk.sessions.mint(None)
    first = await sync_to_thread(desk.operators.count) == 0
    return _form(request, desk, token, first=first)


@post("/login", opt={PUBLIC: True})
async def login(request: Visit) -> Response[Any]:
    """The guard has checked where the form comes from, and its token."""
    desk = desk_of(request)
    form = await request.form()
    name, password = form.get("name"), form.get("password")
    if not isinstance(name, str) or not isinstance(password, str):
        name = password = ""
    name = name.strip()
    signed_in = await sync_to_thread(desk.operators.sign_in, name, password, _address(request, desk))
    if isinstance(signed_in, SignInRefused):
        # No name and no address: people type passwords into the name field, and addresses are personal.
        _log.warning("sign_in_refused", throttled=signed_in.retry_after_s is not None)
        return _form(request, desk, request.cookies[FORM_COOKIE], refused=signed_in, name=name)
    _log.info("signed_in", operator=signed_in.name)
    cookies = [
        _cookie(request, SESSION_COOKIE, desk.sessions.mint(signed_in)),
        Cookie(FORM_COOKIE, path="/", max_age=0, httponly=True, samesite="strict"),
    ]
    return Redirect("/", status_code=303, cookies=cookies)


@post("/logout")
async def logout(request: ConsoleRequest) -> Redirect:
    desk_of(request).sessions.end(request.auth)
    _log.info("signed_out", operator=request.user.name)
    gone = Cookie(SESSION_COOKIE, path="/", max_age=0, httponly=True, samesite="strict")
    return Redirect("/login", status_code=303, cookies=[gone])


def _form(
    request: Visit, desk: Desk, token: str, *, first: bool = False, refused: SignInRefused | None = None, name: str = ""
) -> Template:
    session = desk.sessions.check(token)
    assert session is not None, "the token was minted here or checked by the guard"
    status, headers = 200, {}
    if refused is not None and refused.retry_after_s is not None:
        status, headers = 429, {"retry-after": str(refused.retry_after_s)}
    elif refused is not None:
        status = 403
    context = {
        "css": desk.stylesheet,
        "form_token": desk.sessions.form_token(session),
        "first": first,
        "refused": refused,
        "name": name,
    }
    cookies = [_cookie(request, FORM_COOKIE, token)]
    return Template("login.html", context=context, status_code=status, headers=headers, cookies=cookies)


def _cookie(request: Visit, name: str, value: str) -> Cookie:
    secure = over_tls(request.url.scheme, request.headers)
    return Cookie(
        key=name, value=value, path="/", max_age=SESSION_TTL_S, httponly=True, samesite="strict", secure=secure
    )


def _address(request: Visit, desk: Desk) -> str:
    client = request.client
    peer = f"{client.host}:{client.port}" if client is not None else "unknown:0"
    return desk.addresses.of(peer, lambda name: request.headers.getall(name, []))
