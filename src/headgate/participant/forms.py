"""The pages, and the forms that work without JavaScript: they end in the same claim path as the JSON routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from urllib.parse import parse_qs

from ..domain.claim import LIVE, Granted, Queued
from ..domain.outcome import Outcome, Refusal
from ..http.bodies import media_type
from ..http.cookies import set_session
from ..http.problem import Answer, Headers, status_of
from ..http.safety import cross_site, over_tls
from ..services.book import Entry
from ..services.sessions import SESSION_TTL_S, Session
from .api import query_fields, takes_gzip
from .claims import BAD_KEY, ClaimBody, usable_key
from .own import NOTHING, Own, look_up
from .pages import choose_language
from .plane import Plane
from .protocol import Responder, Scope
from .refused import Refused

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
NOTICES = ("confirmed", "cancelled", "pending")
"""What the page of one's claims may announce after a form; only words of ours, since they come back in a URL."""

_BAD_FORM = Refusal(Outcome.INVALID, "The form could not be read; please reload the page.", reason="bad_form")
_BAD_MEDIA_TYPE = Refusal(Outcome.INVALID, "Send the form as application/x-www-form-urlencoded.", reason="media_type")
_CROSS_SITE = Refusal(Outcome.REFUSED, "This form comes from another site's page.", reason="cross_site")


Page = Callable[["Forms", Scope, Responder, str, str], Awaitable[Answer]]


def _told_as_page(handler: Page) -> Page:
    """Whoever came with a browser is told a refusal by a page, in their language."""

    @wraps(handler)
    async def page(self: Forms, scope: Scope, responder: Responder, slug: str, rest: str) -> Answer:
        try:
            return await handler(self, scope, responder, slug, rest)
        except Refused as refused:
            return self.told(scope, refused.refusal)

    return page


class Forms:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    @_told_as_page
    async def page(self, scope: Scope, _responder: Responder, slug: str, _rest: str) -> Answer:
        language, query = self._asked(scope)
        entry = self._plane.entry(slug)
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

    @_told_as_page
    async def mine(self, scope: Scope, _responder: Responder, slug: str, _rest: str) -> Answer:
        language, _ = self._asked(scope)
        plane = self._plane
        entry = plane.entry(slug)
        session = plane.session(scope.headers)
        notice = next((name for name in NOTICES if f"notice={name}" in scope.query_string), None)
        own = NOTHING if session is None else await look_up(plane.shard_of(entry), entry, session.person)
        claims = own.claims
        # Only what this person holds is looked up and shown, so a page of thousands of pools stays small.
        codes = {claim.pool_code for claim in claims}
        pools = tuple(entry.publication.pool(code) for code in codes)
        view = entry.publication.view(plane.clock.now_ms(), pools)
        key = plane.entropy.token_bytes(12).hex() if own.live < entry.campaign.per_person else ""
        page = plane.pages.claims(
            view, claims, language=language, form_key=key, notice=_notice(notice, entry, own), state=own.state
        )
        return _html(200, PERSONAL, page)

    @_told_as_page
    async def claim(self, scope: Scope, responder: Responder, slug: str, _rest: str) -> Answer:
        language, _ = self._asked(scope)
        plane = self._plane
        entry = plane.entry(slug)
        # Asked first: a form of another site comes without the cookie, and must not replace it.
        if cross_site(scope.headers):
            raise Refused(_CROSS_SITE)
        session = plane.session(scope.headers)
        cookie: Headers = []
        if session is None:
            session, cookie = self._new_session(scope)
        try:
            notice = await self._take(scope, responder, entry, session)
        except Refused as refused:
            return self._refused(entry, language, refused.refusal, cookie)
        return _see_other(f"/c/{slug}/mine?notice={notice}", language, scope, cookie)

    async def _take(self, scope: Scope, responder: Responder, entry: Entry, session: Session) -> str:
        """What to announce; raises Refused."""
        shard = self._plane.shard_of(entry)
        early = shard.form.refuse_early(entry, session, self._plane.clock.now_ms())
        if early is not None:
            raise Refused(early)
        fields = await self._read(scope, responder)
        pool = fields.get("pool", "")
        key = fields.get("key") or None
        if not usable_key(key):
            raise Refused(BAD_KEY)
        if key is None and entry.campaign.per_person > 1:
            key = await self._form_key(entry, session, pool)
        with shard.permit():
            asked = shard.form.ask(entry, session, key, ClaimBody(pool))
            decision = asked if isinstance(asked, Granted | Queued | Refusal) else await asked
        if isinstance(decision, Refusal):
            raise Refused(decision)
        return "pending" if isinstance(decision, Queued) else "confirmed"

    async def _form_key(self, entry: Entry, session: Session, pool: str) -> str:
        """The page that everybody gets from caches carries no key of its own, and a repeated click must not take
        twice: so it is the same until what it brought has ended.  Raises Refused.
        """
        shard = self._plane.shard_of(entry)
        with shard.permit():
            claims = await shard.reader.claims_of(entry.campaign.id, session.person)
        ended = [claim.id for claim in claims if claim.pool_code == pool and claim.status not in LIVE]
        return ":".join(["form", pool, *ended[-1:]])

    @_told_as_page
    async def cancel(self, scope: Scope, responder: Responder, slug: str, _rest: str) -> Answer:
        language, _ = self._asked(scope)
        plane = self._plane
        entry = plane.entry(slug)
        session = plane.own_session(scope.headers)
        fields = await self._read(scope, responder)
        shard = plane.shard_of(entry)
        with shard.permit():
            ended = await shard.desk.cancel(entry.campaign.id, session.person, fields.get("claim", ""))
        if isinstance(ended, Refusal):
            raise Refused(ended)
        return _see_other(f"/c/{slug}/mine?notice=cancelled", language, scope, [])

    async def _read(self, scope: Scope, responder: Responder) -> dict[str, str]:
        """The fields of a posted form, the first of each name; raises Refused."""
        headers = scope.headers
        if cross_site(headers):
            raise Refused(_CROSS_SITE)
        if media_type(headers.get("content-type")) != "application/x-www-form-urlencoded":
            raise Refused(_BAD_MEDIA_TYPE)
        body = await self._plane.bodies.read(responder, headers.get("content-length"))
        if isinstance(body, Refusal):
            raise Refused(body)
        try:
            fields = parse_qs(
                body.decode("ascii"), strict_parsing=bool(body), errors="strict", max_num_fields=FORM_FIELDS_MAX
            )
        except ValueError as error:
            raise Refused(_BAD_FORM) from error
        return {name: values[0] for name, values in fields.items()}

    def _new_session(self, scope: Scope) -> tuple[Session, Headers]:
        sessions = self._plane.sessions
        person = sessions.new_person()
        secure = over_tls(scope.scheme, scope.headers)
        cookie = set_session(sessions.mint(person), max_age_s=SESSION_TTL_S, secure=secure)
        return Session(person, verified=False, synthetic=False), [("set-cookie", cookie)]

    def _asked(self, scope: Scope) -> tuple[str, str]:
        """(language, pool search) of a page request."""
        asked = query_fields(scope.query_string)
        override = asked.get("lang", [None])[0]
        query = asked.get("q", [""])[0][:QUERY_CHARS_MAX]
        return choose_language(scope.headers.get("accept-language"), override), query

    def _refused(self, entry: Entry, language: str, refusal: Refusal, cookie: Headers | None = None) -> Answer:
        headers = [*PERSONAL, *(cookie or ()), *_retry_after(refusal)]
        view = entry.publication.view(self._plane.clock.now_ms())
        page = self._plane.pages.campaign(view, language=language, refusal=refusal)
        return Answer(status_of(refusal), headers, page, refusal.outcome)

    def told(self, scope: Scope, refusal: Refusal) -> Answer:
        """A refusal as a page, in the language of whoever asked; also for requests that cannot be read."""
        try:
            language, _ = self._asked(scope)
        except UnicodeDecodeError:
            language = choose_language(None, None)
        return self._message(language, refusal)

    def _message(self, language: str, refusal: Refusal) -> Answer:
        status = status_of(refusal)
        page = self._plane.pages.message(language=language, status=status, refusal=refusal)
        return Answer(status, [*PERSONAL, *_retry_after(refusal)], page, refusal.outcome)


def _notice(asked: str | None, entry: Entry, own: Own) -> str | None:
    """What to announce after a form, where what it asked for may have been decided meanwhile."""
    if asked != "pending" or not entry.queued or own.state is None:
        return None if asked == "pending" else asked
    if own.state.pending is not False or own.state.outcome:
        return None
    if not own.live:
        return "lost"
    # Of several claims nobody knows here which one was asked for.
    return "confirmed" if entry.campaign.per_person == 1 else None


def _retry_after(refusal: Refusal) -> Headers:
    return [] if refusal.retry_after_s is None else [("retry-after", str(refusal.retry_after_s))]


def _html(status: int, headers: Headers, page: bytes) -> Answer:
    return Answer(status, headers, page, HTTPStatus(status).phrase.lower())


def _see_other(path: str, language: str, scope: Scope, cookie: Headers) -> Answer:
    """After a form, a GET: reloading the result repeats nothing.  The chosen language goes along."""
    location = f"{path}&lang={language}" if "lang=" in scope.query_string else path
    return Answer(303, [("location", location), ("cache-control", "no-store"), *cookie], b"", "see_other")
