"""What is told to others, and how far each destination has been told.

Claims that were made before are told to nobody: a destination begins at the end.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headgate.storage.sql.types import Name, Number

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", Number, primary_key=True, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "relay",
        sa.Column("name", Name, primary_key=True),
        sa.Column("outbox_id", sa.BigInteger, nullable=False),
        sa.Column("event_offset", sa.Integer, nullable=False),
    )
