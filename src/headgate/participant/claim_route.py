"""`POST /api/v1/campaigns/{slug}/claims`: the one route that a rush is made of.

It is written flat, as one coroutine, because at this rate a microsecond is some percent of a core, and
every nested coroutine costs one twice: when it is made, and at each wait that passes through it.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # public by its documentation only

from ..domain.claim import Granted
from ..domain.outcome import NO_SESSION, OVERLOADED, Refusal
from ..http.bearer import bearer_token
from ..http.bodies import BODY_MAX_BYTES, TOO_SLOW
from ..http.cookies import session_cookie
from ..http.problem import Answer, problem
from ..http.safety import cross_site
from ..services.book import Entry
from ..services.claiming import Decision, Pending
from ..services.sessions import Session
from .answers import BAD_BYTES, CROSS_SITE, CUT_OFF, FAULT, PERSONAL, rate_limited
from .claims import BAD_KEY, BAD_MEDIA_TYPE, TimeText, granted_body, is_json, parse_claim, usable_key
from .plane import Plane
from .protocol import RequestHeaders, Responder, Scope

_log = structlog.get_logger("headgate.participant")


class ClaimRoute:
    """Decides with what the page's form decides with too: admission, session, `ClaimForm`."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._form = plane.form
        self._waiting = plane.bodies.waiting
        self._telemetry = plane.telemetry
        self._time_text = TimeText().of
        self._overloaded = problem(OVERLOADED)
        self._no_session = problem(NO_SESSION)

    async def __call__(self, scope: Scope, responder: Responder, entry: Entry) -> None:
        started = time.monotonic()
        plane = self._plane
        decision: Decision | Pending
        try:
            headers = scope.headers
            admitted = self._admit(scope, headers, entry, started)
            if type(admitted) is Session:
                length = headers.get("content-length")
                # What nearly every client sends is read here; `Bodies.read` knows what else there can be.
                if length is not None and length.isdigit() and len(length) < 5 and int(length) <= BODY_MAX_BYTES:
                    arriving = responder()
                    self._waiting[arriving] = started
                    try:
                        content: bytes | Refusal = await arriving
                    except asyncio.CancelledError:
                        content = TOO_SLOW
                    finally:
                        del self._waiting[arriving]
                else:
                    content = await plane.bodies.read(responder, length)
                decision = self._ask(content, headers, entry, admitted)
                if type(decision) is Pending:
                    plane.progress += 1
                    try:
                        decision = await decision
                    finally:
                        plane.progress -= 1
                if type(decision) is Granted:
                    status, outcome = (200, "repeated") if decision.repeated else (201, "confirmed")
                    responder.response_bytes(status, PERSONAL, granted_body(decision.claim, self._time_text))
                    self._telemetry.claim(entry.campaign.slug, outcome, time.monotonic() - started)
                    return
                assert isinstance(decision, Refusal), "a decision is a yes or a no"
                answer = problem(decision)
            else:
                assert isinstance(admitted, Answer), "whoever is not let in has been answered"
                answer = admitted
        except ProtocolClosed:
            answer = problem(CUT_OFF)
        except UnicodeDecodeError:
            answer = problem(BAD_BYTES)
        except Exception:  # noqa: BLE001 -- one request's fault is logged and answered, and hurts no other
            _log.exception("request_failed", route="claims")
            answer = problem(FAULT)
        responder.response_bytes(answer.status, answer.headers, answer.body)
        self._telemetry.claim(entry.campaign.slug, answer.outcome, time.monotonic() - started)

    def _admit(self, scope: Scope, headers: RequestHeaders, entry: Entry, now_s: float) -> Session | Answer:
        """Everything that can be said without reading the body; `now_s` is of the monotonic clock."""
        plane = self._plane
        if plane.limiter.active:
            wait_s = plane.limiter.wait_s(plane.client_address(scope), now_s)
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
        if refusal is None and not is_json(headers.get("content-type")):
            refusal = BAD_MEDIA_TYPE
        return session if refusal is None else problem(refusal)

    def _ask(
        self, content: bytes | Refusal, headers: RequestHeaders, entry: Entry, session: Session
    ) -> Decision | Pending:
        if type(content) is not bytes:
            assert isinstance(content, Refusal), "a body is read or refused"
            return content
        body = parse_claim(content)
        if isinstance(body, Refusal):
            return body
        key = headers.get("idempotency-key")
        # A key that is no text reads as None, and ignoring it would let a retry take a second unit.
        if not usable_key(key) if key is not None else "idempotency-key" in headers:
            return BAD_KEY
        # Only from here on, where everything is there to decide: whoever stops in the middle of a body
        # keeps no place that another could use.
        if self._plane.progress >= self._plane.permits:
            return OVERLOADED
        return self._form.ask(entry, session, body.pool, key, body)
