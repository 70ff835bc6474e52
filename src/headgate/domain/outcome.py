"""Every answer that Headgate gives to a participant, by its stable name.

A refusal is a value, never an exception: an exception means a fault.  The HTTP status of each
outcome is decided at the edge (`headgate.http.problem`), not here.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """Stable codes; clients and reports rely on them, so a name is never reused for another meaning."""

    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    PENDING = "pending"

    NOT_OPEN = "not_open"
    CLOSED = "closed"
    PAUSED = "paused"
    SOLD_OUT = "sold_out"
    WRONG_POOL = "wrong_pool"
    LIMIT_REACHED = "limit_reached"
    INVALID = "invalid"
    NO_SESSION = "no_session"
    NOT_VERIFIED = "not_verified"
    NOT_ELIGIBLE = "not_eligible"
    REFUSED = "refused"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    UNKNOWN = "unknown"
    UNKNOWN_CAMPAIGN = "unknown_campaign"
    NOT_FOUND = "not_found"


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """An honest "no".

    `reason` names a finer case of the outcome where there is one (`key_reused`, `too_large` …).
    `detail` is one sentence for people and never holds personal data.  `retry_after_s` (seconds) is
    set where trying again later can help.
    """

    outcome: Outcome
    detail: str
    reason: str | None = None
    retry_after_s: int | None = None


# Refusals without a variable part are made once: the busiest answer of a launch must cost nothing.
NOT_OPEN = Refusal(Outcome.NOT_OPEN, "The campaign has not opened yet.")
CLOSED = Refusal(Outcome.CLOSED, "The campaign has closed.")
PAUSED = Refusal(Outcome.PAUSED, "The campaign is paused; nothing is lost, please wait.", retry_after_s=10)
SOLD_OUT = Refusal(Outcome.SOLD_OUT, "Everything in this pool has been given away.")
WRONG_POOL = Refusal(Outcome.WRONG_POOL, "The campaign has no pool of this name.")
LIMIT_REACHED = Refusal(Outcome.LIMIT_REACHED, "This person already holds everything that the campaign allows.")
KEY_REUSED = Refusal(
    Outcome.INVALID,
    "This Idempotency-Key was used with another request body; use a new key for a new request.",
    reason="key_reused",
)
NO_SESSION = Refusal(Outcome.NO_SESSION, "A valid session is needed; get one with POST /api/v1/sessions.")
NOT_VERIFIED = Refusal(Outcome.NOT_VERIFIED, "This campaign needs a verified session.")
SYNTHETIC = Refusal(
    Outcome.NOT_ELIGIBLE, "Rehearsal participants can take part in rehearsals only.", reason="synthetic"
)
OVERLOADED = Refusal(Outcome.OVERLOADED, "Too many requests are in progress; please try again.", retry_after_s=1)
STORE_UNAVAILABLE = Refusal(
    Outcome.OVERLOADED,
    "The ledger cannot take claims right now; nothing was taken, please try again.",
    reason="store_unavailable",
    retry_after_s=2,
)
QUEUE_FULL = Refusal(
    Outcome.OVERLOADED, "Too many requests wait for their decision; please try again.", retry_after_s=5
)
QUEUE_UNAVAILABLE = Refusal(
    Outcome.OVERLOADED,
    "Requests cannot wait for their decision right now; nothing was taken, please try again.",
    reason="store_unavailable",
    retry_after_s=2,
)
UNKNOWN = Refusal(
    Outcome.UNKNOWN,
    "It is not certain whether this was recorded; ask claims/mine before you try again.",
    retry_after_s=1,
)
QUEUE_NOT_READ = Refusal(
    Outcome.UNKNOWN, "It is not known right now whether a request of yours waits; please ask again.", retry_after_s=2
)
UNKNOWN_CAMPAIGN = Refusal(Outcome.UNKNOWN_CAMPAIGN, "There is no campaign of this name.")
REDEEMED = Refusal(Outcome.REFUSED, "This claim has been redeemed and cannot be given back.", reason="redeemed")
UNKNOWN_CLAIM = Refusal(Outcome.NOT_FOUND, "This person holds no claim of this id.", reason="unknown_claim")
