"""`POST /api/v1/campaigns/{slug}/claims`: the one route that a rush is made of.

It is driven by callbacks and has no coroutine: a claim waits for its body and for its decision, and at
this rate every wait of a coroutine is some percent of a core.  Only bodies of unknown length, which come
in parts, are read by one.
"""

from __future__ import annotations

import time

from ..domain.claim import QUEUED, Granted
from ..domain.outcome import NO_SESSION, SOLD_OUT, STORE_UNAVAILABLE, Refusal
from ..http.bearer import bearer_token
from ..http.bodies import BODY_MAX_BYTES, Arriving
from ..http.cookies import session_cookie
from ..http.intake import Arrival
from ..http.problem import Answer, problem
from ..http.safety import cross_site
from ..ports.pending import Pending
from ..ports.strangers import TURNED_AWAY, UNANSWERED, UNCOUNTED
from ..services.book import Entry
from ..services.sessions import Session
from ..services.strangers import StrangerDesk
from .answers import CROSS_SITE, PERSONAL, failure, overloaded, too_many
from .claims import (
    BAD_KEY,
    BAD_MEDIA_TYPE,
    TimeText,
    ToCome,
    Told,
    granted_body,
    is_json,
    not_eligible,
    parse_claim,
    usable_key,
)
from .plane import Plane, Shard
from .protocol import RequestHeaders, Responder, Scope

SMALL_BYTES = 1_024
"""A body of this size comes with its headers, or right behind them, and the server passes over it by itself."""

_NO_SESSION = problem(NO_SESSION)
_SOLD_OUT = problem(SOLD_OUT)
_STORE_UNAVAILABLE = problem(STORE_UNAVAILABLE)
_PENDING = Answer(202, PERSONAL, b'{"outcome":"pending"}', "pending")


class ClaimRoute:
    """Decides with what the page's form decides with too: admission, session, `ClaimForm`."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.time_text = TimeText().of

    def early(self, scope: Scope, responder: Responder) -> Arrival | None:
        """Takes claims with bodies of usual length for `headgate.http.intake`; changes nothing."""
        plane = self.plane
        entry = plane.catalogue.by_claim_path(scope.path)
        if entry is None or scope.method != "POST":
            return None
        headers = scope.headers
        length = headers.get("content-length")
        if length is None or not length.isdigit() or len(length) > 5 or (size := int(length)) > BODY_MAX_BYTES:
            return None
        shard, now_ms = plane.shard_of(entry), plane.clock.now_ms()
        strangers = shard.form.strangers
        if strangers is not None and strangers.receives(entry, now_ms):
            large = size > SMALL_BYTES
            return _Knocking(self, scope, headers, responder, entry, strangers, now_ms, large=large)
        asking = _Asking(self, scope, headers, responder, entry)
        # Whoever will most likely be refused by what is looked at first need not be waited for.
        asking.reads_body = shard.progress < shard.permits and shard.form.needs_body(entry, now_ms)
        return asking

    async def __call__(self, scope: Scope, responder: Responder, entry: Entry) -> None:
        """Any claim, also one whose body comes in parts or is too large."""
        headers = scope.headers
        asking = _Asking(self, scope, headers, responder, entry)
        try:
            waiting = self.plane.count_address(scope, headers)
            wait_s = await waiting if isinstance(waiting, Pending) else waiting
            session = problem(too_many(wait_s)) if wait_s else self.admit(headers, entry, asking.shard)
            if isinstance(session, Session):
                content = await self.plane.bodies.read(responder, headers.get("content-length"))
                decision = self.ask(content, headers, entry, asking.shard, session)
                if isinstance(decision, Pending):
                    with asking.shard.permit():
                        decision = await decision
                asking.answer(decision)
            else:
                asking.respond(session)
        except Exception as error:  # noqa: BLE001 -- one request's fault is logged and answered, and hurts no other
            asking.respond(problem(failure(error, "claims")))

    def admit(self, headers: RequestHeaders, entry: Entry, shard: Shard) -> Session | Answer:
        """Everything that can be said without the body, once the address has been counted."""
        plane = self.plane
        if shard.progress >= shard.permits:
            return problem(overloaded())
        now_ms = plane.clock.now_ms()
        session = self.session_of(headers, now_ms)
        if isinstance(session, Answer):
            return session
        refusal = shard.form.refuse_early(entry, session, now_ms)
        if refusal is None and not is_json(headers.get("content-type")):
            refusal = BAD_MEDIA_TYPE
        return session if refusal is None else problem(refusal)

    def session_of(self, headers: RequestHeaders, now_ms: int) -> Session | Answer:
        """Whose request it is, or why nobody's."""
        sessions = self.plane.sessions
        authorization = headers.get("authorization")
        if authorization is not None:
            session = sessions.check(bearer_token(authorization), now_ms)
        else:
            session = sessions.check(session_cookie(headers.get("cookie")), now_ms)
            if session is not None and cross_site(headers):
                return problem(CROSS_SITE)
        return _NO_SESSION if session is None else session

    def ask(
        self, content: bytes | Refusal, headers: RequestHeaders, entry: Entry, shard: Shard, session: Session
    ) -> Told | ToCome:
        """The decision on a claim of somebody who was admitted; who waits for one to come holds a permit."""
        if isinstance(content, Refusal):
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
        if shard.progress >= shard.permits:
            return overloaded()
        return shard.form.ask(entry, session, key, body)


class _Asking(Arrival):
    """One claim on its way from its request to its answer."""

    __slots__ = (
        "_body",
        "_counted",
        "_entry",
        "_headers",
        "_responder",
        "_route",
        "_scope",
        "_session",
        "_started",
        "shard",
    )

    def __init__(
        self, route: ClaimRoute, scope: Scope, headers: RequestHeaders, responder: Responder, entry: Entry
    ) -> None:
        self._started = time.monotonic()
        # On its way although nobody has asked for it yet.
        self._body: Arriving | None = None
        self._route = route
        self._scope = scope
        self._headers = headers
        self._responder = responder
        self._entry = entry
        self.shard = route.plane.shard_of(entry)
        self._counted = False
        self._session: Session | None = None

    def __call__(self, arriving: Arriving | None) -> None:
        """With what came of the body, or first of all with None where it has not been waited for."""
        plane = self._route.plane
        try:
            content = None if arriving is None else plane.bodies.taken(arriving)
            if self._counted:
                self._go_on(content, 0.0)
                return
            self._counted = True
            waiting = plane.count_address(self._scope, self._headers)
            if isinstance(waiting, Pending):
                waiting.add_done_callback(lambda pending: self._go_on(content, pending.result()))
            else:
                self._go_on(content, waiting)
        except Exception as error:  # noqa: BLE001 -- one request's fault is logged and answered, and hurts no other
            self.respond(problem(failure(error, "claims")))

    def _go_on(self, content: bytes | Refusal | None, wait_s: float) -> None:
        """Once the address has been counted; `content` is None where the body has not been waited for."""
        route = self._route
        try:
            if wait_s:
                self.respond(problem(too_many(wait_s)))
                return
            session = self._session
            if session is None:
                admitted = route.admit(self._headers, self._entry, self.shard)
                if isinstance(admitted, Answer):
                    self.respond(admitted)
                    return
                self._session = session = admitted
            if content is None:
                route.plane.bodies.expect(self._responder, self, self._body)
                return
            decision = route.ask(content, self._headers, self._entry, self.shard, session)
            if isinstance(decision, Pending):
                self.shard.progress += 1
                decision.add_done_callback(self._decided)
            else:
                self.answer(decision)
        except Exception as error:  # noqa: BLE001 -- as above
            self.respond(problem(failure(error, "claims")))

    def _decided(self, pending: ToCome) -> None:
        self.shard.progress -= 1
        try:
            self.answer(pending.result())
        except Exception as error:  # noqa: BLE001 -- as above, for the others of its batch
            self.respond(problem(failure(error, "claims")))

    def answer(self, decision: Told) -> None:
        if type(decision) is Granted:
            status, outcome = (200, "repeated") if decision.repeated else (201, "confirmed")
            body = granted_body(decision.claim, self._route.time_text)
            self._responder.response_bytes(status, PERSONAL, body)
            self._count(outcome)
        elif decision is QUEUED:
            self.respond(_PENDING)
        else:
            assert isinstance(decision, Refusal), "what is no yes and does not wait is a no"
            self.respond(problem(decision))

    def respond(self, answer: Answer) -> None:
        self._responder.response_bytes(answer.status, answer.headers, answer.body)
        self._count(answer.outcome)

    def _count(self, outcome: str) -> None:
        seconds = time.monotonic() - self._started
        self._route.plane.telemetry.claim(self._entry.campaign.slug, outcome, seconds)


class _Knocking(_Asking):
    """One request for a claim of a campaign that has nothing left; whoever cannot be turned away asks as usual."""

    __slots__ = ("_knocked", "_large", "_now_ms", "_strangers")

    def __init__(
        self,
        route: ClaimRoute,
        scope: Scope,
        headers: RequestHeaders,
        responder: Responder,
        entry: Entry,
        strangers: StrangerDesk,
        now_ms: int,
        *,
        large: bool,
    ) -> None:
        super().__init__(route, scope, headers, responder, entry)
        self.reads_body = False
        self._strangers = strangers
        self._now_ms = now_ms
        self._large = large
        self._knocked = False

    def __call__(self, arriving: Arriving | None) -> None:
        """First before the body has been touched; with what came of it where they were let in."""
        if self._knocked or not self._knock():
            super().__call__(arriving)

    def _knock(self) -> bool:
        """Whether a doorkeeper looks at them, and at their address too."""
        self._knocked = True
        route, headers, shard = self._route, self._headers, self.shard
        try:
            if self._large:
                # Nobody waits for it; but what comes later than its headers and is left lying costs the connection.
                self._body = route.plane.bodies.begin(self._responder)
            session = route.session_of(headers, self._now_ms)
            if (
                isinstance(session, Answer)
                or not_eligible(self._entry.campaign, session) is not None
                or not is_json(headers.get("content-type"))
                or shard.progress >= shard.permits
            ):
                return False
            self._session = session
            address = route.plane.address_of(self._scope, headers)
            self._strangers.ask(self._entry, session.person, address, self._told)
            shard.progress += 1
        except Exception as error:  # noqa: BLE001 -- one request's fault is logged and answered, and hurts no other
            self.respond(problem(failure(error, "claims")))
        return True

    def _told(self, said: int) -> None:
        """By the doorkeeper; see `headgate.ports.strangers.Turned`."""
        self.shard.progress -= 1
        try:
            if said == TURNED_AWAY:
                self.respond(_SOLD_OUT)
                if self._body is not None:
                    self._route.plane.bodies.leave(self._body)
            elif said == UNANSWERED:
                self.respond(_STORE_UNAVAILABLE)
            elif said == UNCOUNTED:
                super().__call__(None)
            else:
                self._counted = True
                self._go_on(None, said / 1000)
        except Exception as error:  # noqa: BLE001 -- as above, for the others of its batch
            self.respond(problem(failure(error, "claims")))
