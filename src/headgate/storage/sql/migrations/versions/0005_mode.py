"""Whether requests of a campaign are decided at once or wait in a queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headgate.storage.sql.types import Name

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("campaign", sa.Column("mode", Name, nullable=False, server_default="immediate"))
