"""`POST /api/v1/campaigns/{slug}/claims`: the one route that a rush is made of.

It is written flat, because at this rate a microsecond is some percent of a core, and every nested
coroutine costs one twice: when it is made, and at each wait that passes through it.
"""

from __future__ import annotations

import time

from ..domain.claim import Granted
from ..domain.outcome import NO_SESSION, OVERLOADED, Refusal
from ..http.bearer import bearer_token
from ..http.bodies import BODY_MAX_BYTES, read_body
from ..http.cookies import session_cookie
from ..http.problem import Answer, problem
from ..http.safety import cross_site
from ..services.book import Entry
from ..services.sessions import Session
from .answers import CROSS_SITE, PERSONAL, rate_limited
from .claims import BAD_KEY, BAD_MEDIA_TYPE, TimeText, granted_body, is_json, parse_claim, usable_key
from .plane import Plane
from .protocol import RequestHeaders, Responder, Scope


class ClaimRoute:
    """Decides with what the page's form decides with too: admission, session, `ClaimForm`."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._form = plane.form
        self._telemetry = plane.telemetry
        self._time_text = TimeText().of
        self._overloaded = problem(OVERLOADED)
        self._no_session = problem(NO_SESSION)

    async def __call__(self, scope: Scope, responder: Responder, entry: Entry) -> None:
        started = time.perf_counter()
        headers = scope.headers
        admitted = self._admit(scope, headers, entry)
        if type(admitted) is Session:
            decision = await self._ask(responder, headers, entry, admitted)
            if type(decision) is Granted:
                outcome = "repeated" if decision.repeated else "confirmed"
                responder.response_bytes(
                    200 if decision.repeated else 201, PERSONAL, granted_body(decision.claim, self._time_text)
                )
                self._count(entry, outcome, started)
                return
            assert isinstance(decision, Refusal), "a decision is a yes or a no"
            answer = problem(decision)
        else:
            assert isinstance(admitted, Answer), "whoever is not let in has been answered"
            answer = admitted
        responder.response_bytes(answer.status, answer.headers, answer.body)
        self._count(entry, answer.outcome, started)

    def _count(self, entry: Entry, outcome: str, started: float) -> None:
        self._telemetry.claim(entry.campaign.slug, outcome)
        self._telemetry.request("claims", outcome, time.perf_counter() - started)

    def _admit(self, scope: Scope, headers: RequestHeaders, entry: Entry) -> Session | Answer:
        """Everything that can be said without reading the body."""
        plane = self._plane
        if plane.limiter.active:
            address = plane.addresses.of(scope.client, headers.get("x-forwarded-for"))
            wait_s = plane.limiter.wait_s(address, time.monotonic())
            if wait_s:
                return rate_limited(wait_s)
        if plane.progress >= plane.permits:
            return self._overloaded
        now_ms = plane.clock.now_ms()
        authorization = headers.get("authorization")
        if authorization is not None:
            session = plane.sessions.check(bearer_token(authorization), now_ms)
        else:
            session = plane.sessions.check(session_cookie(headers.get("cookie")), now_ms)
            if session is not None and cross_site(headers):
                return problem(CROSS_SITE)
        if session is None:
            return self._no_session
        refusal = self._form.refuse_early(entry, session, now_ms)
        return session if refusal is None else problem(refusal)

    async def _ask(
        self, responder: Responder, headers: RequestHeaders, entry: Entry, session: Session
    ) -> Granted | Refusal:
        if not is_json(headers.get("content-type")):
            return BAD_MEDIA_TYPE
        length = headers.get("content-length")
        # What nearly every client sends is read here; `read_body` knows what else there can be.
        small = length is not None and length.isdigit() and len(length) < 5 and int(length) <= BODY_MAX_BYTES
        content = await (responder() if small else read_body(responder, length))
        if isinstance(content, Refusal):
            return content
        body = parse_claim(content)
        if isinstance(body, Refusal):
            return body
        key = headers.get("idempotency-key")
        if key is not None and not usable_key(key):
            return BAD_KEY
        plane = self._plane
        # Only from here on, where everything is there to decide: whoever stops in the middle of a body
        # keeps no place that another could use.
        if plane.progress >= plane.permits:
            return OVERLOADED
        asked = self._form.ask(entry, session, body.pool, key, body)
        if isinstance(asked, Granted | Refusal):
            return asked
        plane.progress += 1
        try:
            return await asked
        finally:
            plane.progress -= 1
