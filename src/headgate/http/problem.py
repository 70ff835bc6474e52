"""Refusals as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from ..domain.outcome import Outcome, Refusal

Headers = list[tuple[str, str]]

STATUS: dict[Outcome, int] = {
    Outcome.CONFIRMED: 200,
    Outcome.CANCELLED: 200,
    Outcome.PENDING: 202,
    Outcome.NOT_OPEN: 409,
    Outcome.CLOSED: 409,
    Outcome.PAUSED: 409,
    Outcome.SOLD_OUT: 409,
    Outcome.WRONG_POOL: 409,
    Outcome.LIMIT_REACHED: 409,
    Outcome.INVALID: 400,
    Outcome.NO_SESSION: 401,
    Outcome.NOT_VERIFIED: 403,
    Outcome.NOT_ELIGIBLE: 403,
    Outcome.REFUSED: 403,
    Outcome.RATE_LIMITED: 429,
    Outcome.OVERLOADED: 503,
    Outcome.UNKNOWN: 503,
    Outcome.UNKNOWN_CAMPAIGN: 404,
    Outcome.NOT_FOUND: 404,
}

# Finer cases whose status differs from that of their outcome.
STATUS_OF_REASON: dict[str, int] = {
    "key_reused": 422,
    "too_large": 413,
    "too_slow": 408,
    "media_type": 415,
    "method": 405,
}


class Answer(msgspec.Struct, frozen=True):
    """A complete response; `outcome` is the name under which it is counted."""

    status: int
    headers: Headers
    body: bytes
    outcome: str = "ok"


class _Problem(msgspec.Struct, omit_defaults=True):
    type: str
    title: str
    status: int
    detail: str
    outcome: str
    reason: str | None = None


def status_of(refusal: Refusal) -> int:
    return STATUS_OF_REASON.get(refusal.reason or "", STATUS[refusal.outcome])


@lru_cache(maxsize=256)
def problem(refusal: Refusal) -> Answer:
    """The answer for a refusal; made once for each, since the busiest answers of a launch are refusals."""
    status = status_of(refusal)
    name = refusal.reason or refusal.outcome
    body = msgspec.json.encode(
        _Problem(
            type=f"urn:headgate:problem:{name}",
            title=name.replace("_", " ").capitalize(),
            status=status,
            detail=refusal.detail,
            outcome=refusal.outcome,
            reason=refusal.reason,
        )
    )
    headers = [("content-type", "application/problem+json"), ("cache-control", "no-store")]
    if refusal.retry_after_s is not None:
        headers.append(("retry-after", str(refusal.retry_after_s)))
    if status == 401:
        headers.append(("www-authenticate", 'Bearer realm="headgate"'))
    return Answer(status, headers, body, refusal.outcome)
