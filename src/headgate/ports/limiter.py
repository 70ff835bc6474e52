"""Limits on how often somebody may ask.

Failure policy: open, and counted.  A limiter that lost its counts, or cannot be asked, admits; what it
would have refused is still bounded by admission.  Where an open limit would do harm (one-time codes),
whoever asks has to refuse instead.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .pending import Pending

WINDOW_S = 60
"""A subject's minute begins with the first request that is counted for it."""


ADDRESSES = "addresses"
"""The group of limits per address; requests of different addresses have nothing in common, and may be spread."""


class Limit(NamedTuple):
    """At most `per_minute` requests of one subject: an address, a person of a campaign."""

    subject: str
    per_minute: int


class Limiter(Protocol):
    def wait_s(self, group: str, limits: tuple[Limit, ...]) -> float | Pending[float]:
        """Count one request against `limits` in order, up to the first that refuses it.

        0 where it may go on, else the seconds until it may be asked again.  What belongs to one group is
        counted together, in one place; the same subject always comes with the same group.
        """
        ...
