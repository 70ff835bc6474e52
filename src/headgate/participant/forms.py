"""The pages, and the forms that work without JavaScript: they end in the same claim path as the JSON routes."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs

from ..domain.claim import LIVE, Granted
from ..domain.outcome import (
    NO_SESSION,
    OVERLOADED,
    UNKNOWN_CAMPAIGN,
    Outcome,
    Refusal,
)
from ..http.bodies import media_type, read_body
from ..http.cookies import set_session
from ..http.problem import Answer, Headers, status_of
from ..http.safety import cross_site
from ..services.book import Entry
from ..services.sessions import SESSION_TTL_S, Session
from .api import query_fields, session_of, takes_gzip
from .claims import BAD_KEY, ClaimBody, usable_key
from .pages import choose_language
from .plane import Plane
from .protocol import Responder, Scope

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SAFETY: Headers = [
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", CSP),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
]
PUBLIC: Headers = [*SAFETY, ("cache-control", "public, max-age=1"), ("vary", "accept-encoding, accept-language")]
PERSONAL: Headers = [*SAFETY, ("cache-control", "no-store")]

QUERY_CHARS_MAX = 100
FORM_FIELDS_MAX = 20
NOTICES = ("confirmed", "cancelled")
"""What the page of one's claims may announce after a form; only words of ours, since they come back in a URL."""

_BAD_FORM = Refusal(Outcome.INVALID, "The form could not be read; please reload the page.", reason="bad_form")
_BAD_MEDIA_TYPE = Refusal(Outcome.INVALID, "Send the form as application/x-www-form-urlencoded.", reason="media_type")
_CROSS_SITE = Refusal(Outcome.REFUSED, "This form comes from another site's page.", reason="cross_site")


class Forms:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def page(self, scope: Scope, _responder: Responder, slug: str, _rest: str) -> Answer:
        language, query = self._asked(scope)
        entry = self._plane.book.get(slug)
        if entry is None:
            return self._message(language, UNKNOWN_CAMPAIGN)
        now_ms = self._plane.clock.now_ms()
        if query:
            matches = entry.publication.search(query)
            view = entry.publication.view(now_ms)
            return _html(200, PUBLIC, self._plane.pages.campaign(view, language=language, query=query, matches=matches))
        page, compressed = entry.publication.rendered(
            language, now_ms, lambda view: self._plane.pages.campaign(view, language=language)
        )
        if compressed and takes_gzip(scope.headers):
            return Answer(200, [*PUBLIC, ("content-encoding", "gzip")], compressed)
        return _html(200, PUBLIC, page)

    async def mine(self, scope: Scope, _responder: Responder, slug: str, _rest: str) -> Answer:
        language, _ = self._asked(scope)
        plane = self._plane
        entry = plane.book.get(slug)
        if entry is None:
            return self._message(language, UNKNOWN_CAMPAIGN)
        session = session_of(plane, scope.headers)
        notice = next((name for name in NOTICES if f"notice={name}" in scope.query_string), None)
        claims = []
        if session is not None:
            if plane.progress >= plane.permits:
                return self._message(language, OVERLOADED)
            plane.progress += 1
            try:
                claims = await plane.reader.claims_of(entry.campaign.id, session.person)
            finally:
                plane.progress -= 1
        # Only what this person holds is looked up and shown, so a page of thousands of pools stays small.
        codes = {claim.pool_code for claim in claims}
        pools = tuple(entry.publication.pool(code) for code in codes)
        view = entry.publication.view(plane.clock.now_ms(), pools)
        live = sum(claim.status in LIVE for claim in claims)
        key = plane.entropy.token_bytes(12).hex() if live < entry.campaign.per_person else ""
        return _html(200, PERSONAL, plane.pages.claims(view, claims, language=language, form_key=key, notice=notice))

    async def claim(self, scope: Scope, responder: Responder, slug: str, _rest: str) -> Answer:
        language, _ = self._asked(scope)
        plane = self._plane
        entry = plane.book.get(slug)
        if entry is None:
            return self._message(language, UNKNOWN_CAMPAIGN)
        if plane.progress >= plane.permits:
            return self._refused(entry, language, OVERLOADED)
        session = session_of(plane, scope.headers)
        cookie: Headers = []
        if session is None:
            session, cookie = self._new_session(scope)
        plane.progress += 1
        try:
            refusal = await self._take(scope, responder, entry, session)
        finally:
            plane.progress -= 1
        if refusal is not None:
            return self._refused(entry, language, refusal, cookie)
        return _see_other(f"/c/{slug}/mine?notice=confirmed", language, scope, cookie)

    async def _take(self, scope: Scope, responder: Responder, entry: Entry, session: Session) -> Refusal | None:
        form = self._plane.form
        early = form.refuse_early(entry, session, self._plane.clock.now_ms())
        if early is not None:
            return early
        fields = await _read_form(scope, responder)
        if isinstance(fields, Refusal):
            return fields
        pool = fields.get("pool", "")
        key = fields.get("key") or None
        if not usable_key(key):
            return BAD_KEY
        if key is None and entry.campaign.per_person > 1:
            # The cacheable page carries no key of its own, and a repeated click must not take twice.
            key = f"form:{pool}"
        asked = form.ask(entry, session, pool, key, ClaimBody(pool))
        decision = asked if isinstance(asked, Granted | Refusal) else await asked
        if isinstance(decision, Granted):
            return None
        return decision

    async def cancel(self, scope: Scope, responder: Responder, slug: str, _rest: str) -> Answer:
        language, _ = self._asked(scope)
        plane = self._plane
        entry = plane.book.get(slug)
        if entry is None:
            return self._message(language, UNKNOWN_CAMPAIGN)
        session = session_of(plane, scope.headers)
        if session is None:
            return self._message(language, NO_SESSION)
        if plane.progress >= plane.permits:
            return self._message(language, OVERLOADED)
        plane.progress += 1
        try:
            fields = await _read_form(scope, responder)
            if isinstance(fields, Refusal):
                return self._message(language, fields)
            ended = await plane.desk.cancel(entry.campaign.id, session.person, fields.get("claim", ""))
        finally:
            plane.progress -= 1
        if isinstance(ended, Refusal):
            return self._message(language, ended)
        return _see_other(f"/c/{slug}/mine?notice=cancelled", language, scope, [])

    def _new_session(self, scope: Scope) -> tuple[Session, Headers]:
        sessions = self._plane.sessions
        person = sessions.new_person()
        secure = scope.scheme == "https"
        cookie = set_session(sessions.mint(person), max_age_s=SESSION_TTL_S, secure=secure)
        return Session(person, verified=False, synthetic=False), [("set-cookie", cookie)]

    def _asked(self, scope: Scope) -> tuple[str, str]:
        """(language, pool search) of a page request."""
        asked = query_fields(scope.query_string)
        override = asked.get("lang", [None])[0]
        query = asked.get("q", [""])[0][:QUERY_CHARS_MAX]
        return choose_language(scope.headers.get("accept-language"), override), query

    def _refused(self, entry: Entry, language: str, refusal: Refusal, cookie: Headers | None = None) -> Answer:
        headers = [*PERSONAL, *(cookie or ())]
        if refusal.retry_after_s is not None:
            headers.append(("retry-after", str(refusal.retry_after_s)))
        view = entry.publication.view(self._plane.clock.now_ms())
        page = self._plane.pages.campaign(view, language=language, refusal=refusal)
        return Answer(status_of(refusal), headers, page, refusal.outcome)

    def _message(self, language: str, refusal: Refusal) -> Answer:
        status = status_of(refusal)
        page = self._plane.pages.message(language=language, status=status, refusal=refusal)
        return Answer(status, PERSONAL, page, refusal.outcome)


async def _read_form(scope: Scope, responder: Responder) -> dict[str, str] | Refusal:
    headers = scope.headers
    if cross_site(headers):
        return _CROSS_SITE
    if media_type(headers.get("content-type")) != "application/x-www-form-urlencoded":
        return _BAD_MEDIA_TYPE
    body = await read_body(responder, headers.get("content-length"))
    if isinstance(body, Refusal):
        return body
    try:
        fields = parse_qs(
            body.decode("ascii"), strict_parsing=bool(body), errors="strict", max_num_fields=FORM_FIELDS_MAX
        )
    except ValueError:
        return _BAD_FORM
    return {name: values[0] for name, values in fields.items()}


def _html(status: int, headers: Headers, page: bytes) -> Answer:
    return Answer(status, headers, page, HTTPStatus(status).phrase.lower())


def _see_other(path: str, language: str, scope: Scope, cookie: Headers) -> Answer:
    """After a form, a GET: reloading the result repeats nothing.  The chosen language goes along."""
    location = f"{path}&lang={language}" if "lang=" in scope.query_string else path
    return Answer(303, [("location", location), ("cache-control", "no-store"), *cookie], b"", "see_other")
