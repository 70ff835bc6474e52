"""Which of several ledgers a new campaign goes to, decided once for each slug.

Failure policy: closed.  Where it cannot be asked no campaign is made.
"""

from __future__ import annotations

from typing import Protocol


class Placements(Protocol):
    """Kept by the first ledger.  A ledger is known by its id, which no setting can change."""

    def place(self, slug: str, ledger_id: int) -> int:
        """The id of the ledger that the slug belongs to: this one, unless it was given to another before.

        Durable before it returns, so that two who make a campaign of one slug at the same moment make it in one
        place.  Raises SlugTaken where the first ledger has such a campaign already.
        """
        ...

    def placed(self) -> dict[str, int]:
        """The id of the ledger that each slug was given to."""
        ...
