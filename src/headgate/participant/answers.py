"""Answers that several routes give."""

from __future__ import annotations

from itertools import cycle

import msgspec
import structlog

from ..domain.outcome import OVERLOADED, Outcome, Refusal
from ..http.problem import Headers

_log = structlog.get_logger("headgate.participant")

PERSONAL: Headers = [("content-type", "application/json"), ("cache-control", "no-store")]

BAD_BYTES = Refusal(Outcome.INVALID, "The request holds bytes that are no text.", reason="bad_bytes")
FAULT = Refusal(Outcome.UNKNOWN, "Something failed on our side; it was noted.", reason="fault", retry_after_s=5)
CROSS_SITE = Refusal(Outcome.REFUSED, "This request comes from another site's page.", reason="cross_site")


def failure(error: Exception, route: str) -> Refusal:
    """Why a request could not be served to its end; what is no client's fault is logged."""
    if isinstance(error, UnicodeDecodeError):
        return BAD_BYTES
    _log.error("request_failed", route=route, exc_info=error)
    return FAULT


RETRY_AFTER_S = (1, 2, 3)
"""In turn, so that those who were refused at the same moment do not come back at the same moment."""

_OVERLOADED = cycle([msgspec.structs.replace(OVERLOADED, retry_after_s=seconds) for seconds in RETRY_AFTER_S])


def overloaded() -> Refusal:
    """Where there is no permit left."""
    return next(_OVERLOADED)


OF_ADDRESS = "Too many requests from this address; please wait."
OF_CAMPAIGN = "Too many requests at the moment; please wait."


def too_many(wait_s: float, message: str = OF_ADDRESS) -> Refusal:
    return Refusal(Outcome.RATE_LIMITED, message, retry_after_s=int(wait_s) + 1)
