"""The JSON routes of `/api/v1`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec

from ..domain.outcome import Refusal
from ..http.cookies import session_cookie, set_session
from ..http.problem import Answer, Headers, problem
from ..http.safety import cross_site, over_tls
from ..services.book import Entry
from ..services.sessions import SESSION_TTL_S
from .answers import CROSS_SITE, PERSONAL
from .claims import claim_object
from .own import look_up
from .plane import Plane
from .protocol import RequestHeaders, Responder, Scope

PUBLIC: Headers = [
    ("content-type", "application/json"),
    ("cache-control", "public, max-age=1"),
    ("vary", "accept-encoding"),
]
PUBLIC_GZIP: Headers = [*PUBLIC, ("content-encoding", "gzip")]

QUERY_FIELDS_MAX = 20

POOLS_ASKED_MAX = 50
"""Pools that one state request may name."""

_encode = msgspec.json.encode


def query_fields(query: str) -> dict[str, list[str]]:
    """The fields of a query; none where there are more than anybody has use for."""
    try:
        return parse_qs(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        return {}


def takes_gzip(headers: RequestHeaders) -> bool:
    return "gzip" in (headers.get("accept-encoding") or "")


class Api:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def session(self, scope: Scope, _responder: Responder, _slug: str, _rest: str) -> Answer:
        """201 with a cookie; the person of a valid cookie stays the same."""
        headers = scope.headers
        # A page of another site comes without the cookie, and must not replace it.
        if cross_site(headers):
            return problem(CROSS_SITE)
        sessions = self._plane.sessions
        cookie = session_cookie(headers.get("cookie"))
        known = sessions.check(cookie, self._plane.clock.now_ms())
        if known is None:
            token = sessions.mint(sessions.new_person())
        else:
            token = sessions.mint(known.person, verified=known.verified, synthetic=known.synthetic)
        wants_token = cookie is None and "application/json" in (headers.get("accept") or "")
        body = _encode(
            {"token": token, "expires_in_s": SESSION_TTL_S} if wants_token else {"expires_in_s": SESSION_TTL_S}
        )
        secure = over_tls(scope.scheme, headers)
        return Answer(
            201,
            [*PERSONAL, ("set-cookie", set_session(token, max_age_s=SESSION_TTL_S, secure=secure))],
            body,
            "created",
        )

    async def state(self, scope: Scope, _responder: Responder, slug: str, _rest: str) -> Answer:
        entry = self._plane.entry(slug)
        now_ms = self._plane.clock.now_ms()
        if scope.query_string:
            asked = query_fields(scope.query_string).get("pools")
            if asked is not None:
                return self._part_of_state(entry, asked[0].split(",")[:POOLS_ASKED_MAX], now_ms)
        document, compressed = entry.publication.document(now_ms)
        if compressed and takes_gzip(scope.headers):
            return Answer(200, PUBLIC_GZIP, compressed)
        return Answer(200, PUBLIC, document)

    def _part_of_state(self, entry: Entry, asked: list[str], now_ms: int) -> Answer:
        publication = entry.publication
        pools = tuple(publication.pool(code) for code in asked if code in entry.pool_ids)
        return Answer(200, PUBLIC, _encode(publication.view(now_ms, pools)))

    async def pools(self, scope: Scope, _responder: Responder, slug: str, _rest: str) -> Answer:
        entry = self._plane.entry(slug)
        document, compressed = entry.publication.pool_list(self._plane.clock.now_ms())
        if compressed and takes_gzip(scope.headers):
            return Answer(200, PUBLIC_GZIP, compressed)
        return Answer(200, PUBLIC, document)

    async def mine(self, scope: Scope, _responder: Responder, slug: str, _rest: str) -> Answer:
        plane = self._plane
        entry = plane.entry(slug)
        session = plane.own_session(scope.headers)
        own = await look_up(plane.shard_of(entry), entry, session.person)
        body: dict[str, Any] = {"claims": [claim_object(claim) for claim in own.claims]}
        if own.state is not None and own.state.pending is not None:
            body["pending"] = own.state.pending
            if own.state.outcome:
                # Somebody with several requests has to know of which one this is.
                body |= {"outcome": own.state.outcome, "pool": entry.pool_codes.get(own.state.pool_id)}
            if own.state.reason:
                body["reason"] = own.state.reason
        return Answer(200, PERSONAL, _encode(body))

    async def cancel(self, scope: Scope, _responder: Responder, slug: str, rest: str) -> Answer:
        plane = self._plane
        entry = plane.entry(slug)
        session = plane.own_session(scope.headers)
        if cross_site(scope.headers):
            return problem(CROSS_SITE)
        shard = plane.shard_of(entry)
        with shard.permit():
            ended = await shard.desk.cancel(entry.campaign.id, session.person, rest.removeprefix("claims/"))
        if isinstance(ended, Refusal):
            return problem(ended)
        return Answer(200, PERSONAL, _encode({"outcome": "cancelled", "claim": claim_object(ended)}), "cancelled")
