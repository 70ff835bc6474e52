"""Placements as rows of the first ledger; see `headgate.ports.placements.Placements`."""

from __future__ import annotations

import sqlalchemy as sa

from ...ports.ledger import SlugTaken
from .engine import writing
from .schema import campaign, placement


class SqlPlacements:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writing = writing(engine)

    def place(self, slug: str, ledger_id: int) -> int:
        # Whoever makes a campaign here without knowing of other ledgers takes the same lock, and reads this row.
        with self._writing.begin() as connection:
            if connection.scalar(sa.select(campaign.c.id).where(campaign.c.slug == slug)) is not None:
                raise SlugTaken(f"a campaign with the slug {slug!r} exists already; choose another slug")
            known = placed_on(connection, slug)
            if known is not None:
                return known
            connection.execute(sa.insert(placement).values(slug=slug, ledger_id=ledger_id))
            return ledger_id

    def placed(self) -> dict[str, int]:
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(placement.c.slug, placement.c.ledger_id))
            return {row.slug: int(row.ledger_id) for row in rows}


def placed_on(connection: sa.Connection, slug: str) -> int | None:
    """The id of the ledger that the slug was given to; None where nobody has asked for one."""
    found = connection.scalar(sa.select(placement.c.ledger_id).where(placement.c.slug == slug))
    return None if found is None else int(found)
