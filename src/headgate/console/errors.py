"""Errors as plain pages: what happened and what to do, never how it looks inside."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.response import Redirect, Response, Template

from .desk import desk_of

_log = structlog.get_logger("headgate.console")

_DETAILS = {
    400: "The request cannot be understood. Check the address, or go back and try again.",
    404: "There is nothing at this address. It may have been mistyped, or the campaign may have another name.",
    405: "This address does not answer this kind of request.",
    413: "The request is larger than anything that the console asks for.",
    500: "Something went wrong inside the console. Nothing that was under way is shown here; the log has the details.",
}

AnyRequest = Request[Any, Any, Any]


def to_login(_request: AnyRequest, _error: NotAuthorizedException) -> Response[Any]:
    return Redirect("/login", status_code=303)


def refused(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """403 and 404 were raised here with a text for people; the texts of the framework are for programmers."""
    detail = _DETAILS.get(error.status_code, error.detail)
    if error.status_code == 404 and error.detail != HTTPStatus.NOT_FOUND.phrase:
        detail = error.detail
    return _page(request, error.status_code, detail)


def failed(request: AnyRequest, error: Exception) -> Response[Any]:
    _log.error("console_failed", path=request.url.path, kind=type(error).__name__, exc_info=error)
    return _page(request, 500, _DETAILS[500])


def _page(request: AnyRequest, status: int, detail: str) -> Response[Any]:
    title = HTTPStatus(status).phrase
    context = {"css": desk_of(request).stylesheet, "status": status, "title": title, "detail": detail}
    return Template("error.html", context=context, status_code=status)
