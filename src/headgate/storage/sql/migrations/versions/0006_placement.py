"""Which ledger the campaigns of several are on; a ledger that is alone has no rows here."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headgate.storage.sql.types import Name

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "placement",
        sa.Column("slug", Name, primary_key=True),
        sa.Column("ledger_id", sa.BigInteger, nullable=False),
    )
