"""The answers that the documentation knows: docs/reference/outcomes.md, by status."""

from __future__ import annotations

REFUSALS: dict[str, frozenset[int]] = {
    "not_open": frozenset({409}),
    "closed": frozenset({409}),
    "paused": frozenset({409}),
    "sold_out": frozenset({409}),
    "wrong_pool": frozenset({409}),
    "limit_reached": frozenset({409}),
    "invalid": frozenset({400, 405, 408, 413, 415, 422}),
    "no_session": frozenset({401}),
    "not_verified": frozenset({403}),
    "not_eligible": frozenset({403}),
    "refused": frozenset({403}),
    "wrong_code": frozenset({403}),
    "challenge": frozenset({403}),
    "rate_limited": frozenset({429}),
    "overloaded": frozenset({503}),
    "unknown": frozenset({503}),
    "unknown_campaign": frozenset({404}),
    "not_found": frozenset({404}),
}

WITHOUT_OUTCOME = frozenset({400, 405, 408, 413, 415, 431})
"""Refusals of the server below the application, which have no body, and of bodies that nobody reads."""

SUCCESSES: dict[str, dict[int, frozenset[str | None]]] = {
    "claim": {200: frozenset({"confirmed"}), 201: frozenset({"confirmed"})},
    "mine": {200: frozenset({"confirmed", None})},
    "cancel": {200: frozenset({"cancelled", None})},
}


def is_documented(kind: str, status: int, outcome: str | None) -> bool:
    """Whether an answer to this kind of request may have this status and outcome."""
    if status < 300:
        return outcome in SUCCESSES[kind].get(status, ())
    if outcome is None:
        return status in WITHOUT_OUTCOME
    return status in REFUSALS.get(outcome, ())
