"""A campaign's own limits, and a number by which a gate knows whose ledger it follows."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("campaign", sa.Column("limits", sa.JSON()))
    counter = sa.table("counter", sa.column("name"), sa.column("value"))
    op.bulk_insert(counter, [{"name": "ledger.id", "value": secrets.randbits(62)}])
