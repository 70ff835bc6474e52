"""The RSGI application of the participant plane: finds the route, applies limits, counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache

from ..domain.outcome import Outcome, Refusal
from ..http.driving import drive_requests
from ..http.intake import open_intake
from ..http.problem import Answer, problem
from ..ports.pending import Pending
from .answers import failure, too_many
from .api import Api
from .claim_route import ClaimRoute
from .forms import Forms
from .plane import Plane
from .protocol import Responder, Scope
from .refused import Refused

NO_ROUTE = Refusal(Outcome.NOT_FOUND, "There is nothing at this path.", reason="no_route")
_METHOD = Refusal(Outcome.INVALID, "This path does not take this method.", reason="method")

_TEXT = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]
_ALIVE = Answer(200, _TEXT, b"ok\n")
_NOT_READY = Answer(503, _TEXT, b"the ledger has not answered for some seconds\n", "not_ready")

SWEEP_S = 1.0
"""How often bodies that do not come are looked for."""

Handler = Callable[[Scope, Responder, str, str], Awaitable[Answer]]
"""(scope, responder, slug, rest of the path after the slug) -> answer"""

Methods = Mapping[str, Handler]

_CAMPAIGNS = "/api/v1/campaigns/"
_PAGES = "/c/"


@lru_cache(maxsize=64)
def _method_refused(allow: str) -> Answer:
    refused = problem(_METHOD)
    return Answer(refused.status, [*refused.headers, ("allow", allow)], refused.body, refused.outcome)


class ParticipantApp:
    """`wire` makes the plane on the worker's event loop, before the first request."""

    def __init__(self, wire: Callable[[asyncio.AbstractEventLoop], Plane]) -> None:
        self._wire = wire
        self._plane: Plane
        self._loop: asyncio.AbstractEventLoop
        self._claim: ClaimRoute
        self._forms: Forms
        self._campaign_routes: dict[str, tuple[str, Methods]] = {}
        self._page_routes: dict[str, tuple[str, Methods]] = {}
        self._claim_route: tuple[str, Methods] = ("claim", {})
        self._sessions_route: tuple[str, Methods] = ("sessions", {})

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        drive_requests(loop)
        self._plane = self._wire(loop)
        self._loop = loop
        self._sweep_bodies()
        api, forms = Api(self._plane), Forms(self._plane)
        self._forms = forms
        self._claim = ClaimRoute(self._plane)
        open_intake(loop, self._plane.bodies, self._claim.early)
        self._sessions_route = ("sessions", {"POST": api.session})
        self._campaign_routes = {
            "": ("state", {"GET": api.state}),
            "pools": ("pools", {"GET": api.pools}),
            "claims": ("claims", {"POST": self._unknown_claims}),
            "claims/mine": ("mine", {"GET": api.mine}),
        }
        self._claim_route = ("claim", {"DELETE": api.cancel})
        self._page_routes = {
            "": ("page", {"GET": forms.page, "POST": forms.claim}),
            "mine": ("page_mine", {"GET": forms.mine}),
            "cancel": ("page_cancel", {"POST": forms.cancel}),
        }

    def _sweep_bodies(self) -> None:
        self._loop.call_later(SWEEP_S, self._sweep_bodies)
        self._plane.bodies.give_up_overdue(time.monotonic())

    async def _unknown_claims(self, _scope: Scope, _responder: Responder, _slug: str, _rest: str) -> Answer:
        """Claims on a campaign that exists go to `ClaimRoute`; what comes here names one that does not."""
        return problem(self._plane.unknown())

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._plane.close()

    def __rsgi__(self, scope: Scope, responder: Responder) -> Awaitable[None]:
        entry = self._plane.catalogue.by_claim_path(scope.path)
        if entry is not None and scope.method == "POST":
            return self._claim(scope, responder, entry)
        return self._serve(scope, responder)

    async def _serve(self, scope: Scope, responder: Responder) -> None:
        if scope.proto != "http":
            raise ValueError(f"this listener serves http, not {scope.proto}")
        started = time.perf_counter()
        route, methods, slug, rest = self._find(scope.path)
        try:
            answer = await self._answer(scope, responder, methods, slug, rest)
        except Refused as refused:
            answer = self._told(route, scope, refused.refusal)
        except Exception as error:  # noqa: BLE001 -- one request's fault is logged and answered, and hurts no other
            answer = self._told(route, scope, failure(error, route))
        _respond(responder, answer)
        self._plane.telemetry.request(route, answer.outcome, time.perf_counter() - started)

    def _told(self, route: str, scope: Scope, refusal: Refusal) -> Answer:
        """Whoever asked for a page is told by a page."""
        return self._forms.told(scope, refusal) if route.startswith("page") else problem(refusal)

    def _find(self, path: str) -> tuple[str, Methods | None, str, str]:
        """Route, its methods or None, slug, rest of the path."""
        if path.startswith(_CAMPAIGNS):
            slug, _, rest = path[len(_CAMPAIGNS) :].partition("/")
            found = self._campaign_routes.get(rest)
            if found is None and rest.startswith("claims/") and rest.count("/") == 1:
                found = self._claim_route
        elif path.startswith(_PAGES):
            slug, _, rest = path[len(_PAGES) :].partition("/")
            found = self._page_routes.get(rest)
        elif path == "/api/v1/sessions":
            slug = rest = ""
            found = self._sessions_route
        else:
            return path[1:] if path in ("/livez", "/readyz") else "none", None, "", ""
        return (*found, slug, rest) if found is not None else ("none", None, "", "")

    async def _answer(
        self, scope: Scope, responder: Responder, methods: Methods | None, slug: str, rest: str
    ) -> Answer:
        plane = self._plane
        if methods is None and scope.path in ("/livez", "/readyz"):
            return _ALIVE if scope.path == "/livez" or plane.current() else _NOT_READY
        waiting = plane.count_address(scope, scope.headers)
        wait_s = await waiting if isinstance(waiting, Pending) else waiting
        if wait_s:
            raise Refused(too_many(wait_s))
        if methods is None:
            return problem(NO_ROUTE)
        method = scope.method
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allow = [*methods, "HEAD"] if "GET" in methods else [*methods]
            return _method_refused(", ".join(allow))
        return await handler(scope, responder, slug, rest)


def _respond(responder: Responder, answer: Answer) -> None:
    responder.response_bytes(answer.status, answer.headers, answer.body)
