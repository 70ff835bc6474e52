"""How a request ends early."""

from __future__ import annotations

from ..domain.outcome import Refusal


class Refused(Exception):
    """Ends a request with a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal
