"""Limits on how often somebody may ask.

Failure policy: open.  A limiter that lost its counts admits; what it would have refused is still
bounded by admission.
"""

from __future__ import annotations

from typing import Protocol


class AddressLimiter(Protocol):
    active: bool

    def wait_s(self, address: str, now_s: float) -> float:
        """Count a request; 0 where it may go on, else the seconds until this address may ask again.

        `now_s` comes from a clock that never steps and that all workers of the machine share (seconds).
        """
        ...
