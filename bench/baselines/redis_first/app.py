"""The participant API as far as a crowd needs it, on Granian (RSGI)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope  # type: ignore[attr-defined]

from .client import AnswerLost, Client, GateAway
from .gate import Campaign, Claim, Gate
from .ledger import open_ledger
from .shop import Shop

GATE_VARIABLE, LEDGER_VARIABLE = "REDIS_FIRST_GATE", "REDIS_FIRST_LEDGER"

BODY_MAX_BYTES = 16_384
BODY_S = 10.0
PROGRESS_MAX = 1_024
"""Requests of one worker that may wait for the store; the next one is refused at once."""

_CAMPAIGNS = "/api/v1/campaigns/"

STATUS = {
    "not_open": 409,
    "closed": 409,
    "sold_out": 409,
    "wrong_pool": 409,
    "limit_reached": 409,
    "invalid": 400,
    "no_session": 401,
    "overloaded": 503,
    "unknown": 503,
    "unknown_campaign": 404,
    "not_found": 404,
}

Headers = list[tuple[str, str]]
Answer = tuple[int, Headers, bytes]

_log = logging.getLogger("redis_first")


class Refused(Exception):
    def __init__(self, outcome: str, detail: str, status: int | None = None, headers: Headers | None = None) -> None:
        self.answer = _problem(outcome, detail, STATUS[outcome] if status is None else status, headers or [])


def _problem(outcome: str, detail: str, status: int, headers: Headers) -> Answer:
    members = {
        "type": f"urn:headgate:problem:{outcome}",
        "title": outcome.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "outcome": outcome,
    }
    if status == 503:
        headers = [*headers, ("retry-after", "1")]
    kind = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
    return status, [*kind, *headers], msgspec.json.encode(members)


_REFUSALS = {
    outcome: _problem(outcome, detail, STATUS[outcome], [])
    for outcome, detail in {
        "not_open": "The campaign has not opened yet.",
        "closed": "The campaign has closed.",
        "sold_out": "Everything in this pool has been given away.",
        "limit_reached": "This person already holds everything that the campaign allows.",
        "overloaded": "Nothing was taken; please try again.",
        "unknown": "It is not certain whether this was recorded; ask claims/mine before you try again.",
    }.items()
}
_TEXT: Headers = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]
_PERSONAL: Headers = [("content-type", "application/json"), ("cache-control", "no-store")]


class _ClaimBody(msgspec.Struct):
    pool: str


class App:
    """One worker."""

    def __init__(self) -> None:
        self._shop: Shop
        self._progress = 0

    def __rsgi_init__(self, _loop: asyncio.AbstractEventLoop) -> None:
        self._shop = Shop(Gate(Client(os.environ[GATE_VARIABLE])), open_ledger(os.environ[LEDGER_VARIABLE]))

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        try:
            status, headers, body = await self._answer(scope, protocol)
        except Refused as refused:
            status, headers, body = refused.answer
        except GateAway:
            status, headers, body = _REFUSALS["overloaded"]
        except AnswerLost:
            status, headers, body = _REFUSALS["unknown"]
        except Exception:  # noqa: BLE001 -- one request's fault is logged, and hurts no other
            _log.exception("a request failed")
            status, headers, body = _REFUSALS["unknown"]
        protocol.response_bytes(status, headers, body)

    async def _answer(self, scope: Scope, protocol: HTTPProtocol) -> Answer:
        if scope.path == "/livez":
            return 200, _TEXT, b"ok\n"
        if scope.path == "/readyz":
            return await self._ready()
        slug, _, rest = scope.path.removeprefix(_CAMPAIGNS).partition("/")
        if not scope.path.startswith(_CAMPAIGNS) or rest not in ("claims", "claims/mine"):
            raise Refused("not_found", "There is nothing at this path.")
        takes = "POST" if rest == "claims" else "GET"
        if scope.method != takes:
            raise Refused("invalid", "This path does not take this method.", 405, [("allow", takes)])
        person = _person(scope.headers.get("authorization"))
        if takes == "GET":
            return await self._within_bounds(lambda: self._mine(slug, person))
        pool = await _asked_pool(scope, protocol)
        return await self._within_bounds(lambda: self._claim(slug, person, pool))

    async def _within_bounds(self, serve: Callable[[], Awaitable[Answer]]) -> Answer:
        if self._progress >= PROGRESS_MAX:
            return _REFUSALS["overloaded"]
        self._progress += 1
        try:
            return await serve()
        finally:
            self._progress -= 1

    async def _ready(self) -> Answer:
        try:
            await self._shop.check()
        except GateAway as error:
            return 503, [*_TEXT, ("retry-after", "1")], f"{error}\n".encode()
        return 200, _TEXT, b"ok\n"

    async def _campaign(self, slug: str) -> Campaign:
        campaign = await self._shop.campaign(slug)
        if campaign is None:
            raise Refused("unknown_campaign", "There is no campaign of this name.")
        return campaign

    async def _claim(self, slug: str, person: str, pool: str) -> Answer:
        # An Idempotency-Key adds nothing here: a person has one claim, and asking again gives that one.
        campaign = await self._campaign(slug)
        if pool not in campaign.pools:
            raise Refused("wrong_pool", "The campaign has no pool of this name.")
        outcome, claim = await self._shop.take(campaign, person, pool)
        if claim is None:
            return _REFUSALS[outcome]
        if claim.pool != pool:
            return _REFUSALS["limit_reached"]
        body = msgspec.json.encode({"outcome": "confirmed", "claim": _shown(claim)})
        return 200 if outcome == "repeated" else 201, _PERSONAL, body

    async def _mine(self, slug: str, person: str) -> Answer:
        claim = await self._shop.held(await self._campaign(slug), person)
        return 200, _PERSONAL, msgspec.json.encode({"claims": [_shown(claim)] if claim else []})


def _person(authorization: str | None) -> str:
    """16 bytes that stand for whoever has this token, in hexadecimal digits."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(
            "no_session", "A token is needed: Authorization: Bearer TOKEN.", None, [("www-authenticate", "Bearer")]
        )
    return hashlib.sha256(token.strip().encode()).digest()[:16].hex()


async def _asked_pool(scope: Scope, protocol: HTTPProtocol) -> str:
    content_type = (scope.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Refused("invalid", "The body has to be application/json.", 415)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in protocol:
                body += part
                if len(body) > BODY_MAX_BYTES:
                    raise Refused("invalid", f"The body is larger than {BODY_MAX_BYTES} bytes.", 413)
    except TimeoutError as error:
        raise Refused("invalid", f"The body did not arrive within {BODY_S:g} seconds.", 408) from error
    except ProtocolClosed as error:
        raise Refused("invalid", "The body ended before it was whole.") from error
    try:
        return msgspec.json.decode(body, type=_ClaimBody).pool
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("invalid", 'The body is no claim; send for example {"pool": "central"}.') from error


def _shown(claim: Claim) -> dict[str, Any]:
    at = datetime.fromtimestamp(claim.at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": claim.id, "code": claim.code, "pool": claim.pool, "ordinal": 1, "at": at, "status": "confirmed",
    }  # fmt: skip


app = App()
