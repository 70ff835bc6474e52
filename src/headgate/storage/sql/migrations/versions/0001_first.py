"""The first tables: campaigns, pools, claims, operators, the audit trail and the keeper's lease."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from headgate.storage.sql.types import Bytes16, Name, Number, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    _campaign()
    _pool()
    _claim()
    _operator()
    _operation()
    _lease()


def _campaign() -> None:
    op.create_table(
        "campaign",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slug", Name, nullable=False, unique=True),
        sa.Column("kind", Name, nullable=False),
        sa.Column("title", sa.JSON, nullable=False),
        sa.Column("opens_at", sa.BigInteger, nullable=False),
        sa.Column("closes_at", sa.BigInteger, nullable=False),
        sa.Column("utc_offset_s", sa.Integer, nullable=False),
        sa.Column("per_person", sa.Integer, nullable=False),
        sa.Column("rehearsal", sa.Boolean, nullable=False),
        sa.Column("verification", Name, nullable=False),
        sa.Column("control", Name, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("opens_at < closes_at", name="campaign_window"),
        sa.CheckConstraint("per_person >= 1", name="campaign_per_person"),
    )


def _pool() -> None:
    op.create_table(
        "pool",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), nullable=False),
        sa.Column("code", Name, nullable=False),
        sa.Column("label", sa.JSON, nullable=False),
        sa.Column("capacity", sa.Integer, nullable=False),
        sa.Column("remaining", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.UniqueConstraint("campaign_id", "code", name="pool_code"),
        sa.CheckConstraint("remaining >= 0 AND remaining <= capacity", name="pool_remaining"),
    )


def _claim() -> None:
    op.create_table(
        "claim",
        sa.Column("seq", Number, primary_key=True, autoincrement=False),
        sa.Column("id", Name, nullable=False),
        sa.Column("campaign_id", sa.Integer, nullable=False),
        sa.Column("pool_id", sa.Integer, nullable=False),
        sa.Column("person", Bytes16, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("status", Name, nullable=False),
        sa.Column("code", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("key_digest", Bytes16),
        sa.Column("body_digest", Bytes16),
        sa.UniqueConstraint("campaign_id", "person", "ordinal", name="claim_place"),
        sa.CheckConstraint(
            "status = 'confirmed' OR status = 'held' OR status = 'redeemed'"
            " OR status = 'cancelled' OR status = 'expired'",
            name="claim_status",
        ),
        sa.CheckConstraint(
            "(status = 'cancelled' OR status = 'expired') = (ordinal <= 0)", name="claim_live_has_place"
        ),
    )


def _operator() -> None:
    op.create_table(
        "operator",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", Name, nullable=False, unique=True),
        sa.Column("role", Name, nullable=False),
        sa.Column("password_hash", Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def _operation() -> None:
    op.create_table(
        "operation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", Text, nullable=False),
        sa.Column("action", Name, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("digest", Name, nullable=False, unique=True),
    )


def _lease() -> None:
    op.create_table(
        "lease",
        sa.Column("name", Name, primary_key=True),
        sa.Column("holder", Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
