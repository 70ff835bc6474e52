"""The row that programs on several machines lock before they write."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headgate.storage.sql.types import Name

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    counter = op.create_table(
        "counter",
        sa.Column("name", Name, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    last = op.get_bind().exec_driver_sql("SELECT coalesce(max(seq), 0) FROM claim").scalar_one()
    op.bulk_insert(counter, [{"name": "claim.seq", "value": last}])
