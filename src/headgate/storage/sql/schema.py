"""The ledger's tables.  What an auditor may rely on is described in docs/reference/ledger-tables.md.

Times are integers, milliseconds since the Unix epoch; texts in several languages are JSON objects.
"""

from __future__ import annotations

import sqlalchemy as sa

from .types import Bytes16, Name, Number, Text

SCHEMA_VERSION = "0006"
"""The last migration; a test holds it against the migrations themselves."""

METADATA = sa.MetaData()

campaign = sa.Table(
    "campaign",
    METADATA,
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
    sa.Column("limits", sa.JSON(none_as_null=True)),
    sa.Column("mode", Name, nullable=False, server_default="immediate"),
    sa.CheckConstraint("opens_at < closes_at", name="campaign_window"),
    sa.CheckConstraint("per_person >= 1", name="campaign_per_person"),
)

pool = sa.Table(
    "pool",
    METADATA,
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

# `seq` is the key that SQLite stores rows by, so that claims are appended and an export in order of
# commitment is a plain scan.  `id` and `code` need no index of their own: both begin with `seq`, which
# makes them unique and finds their row.  The checks are chains of OR because SQLite builds a temporary
# table for an IN list, and it would build these for every batch's every row.  There are no foreign keys:
# the batch reads campaign and pool in its transaction, and checking them for every row would cost as much
# as inserting it.
claim = sa.Table(
    "claim",
    METADATA,
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
        "status = 'confirmed' OR status = 'held' OR status = 'redeemed' OR status = 'cancelled' OR status = 'expired'",
        name="claim_status",
    ),
    sa.CheckConstraint("(status = 'cancelled' OR status = 'expired') = (ordinal <= 0)", name="claim_live_has_place"),
)

operator = sa.Table(
    "operator",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("role", Name, nullable=False),
    sa.Column("password_hash", Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

# A hash chain: `digest` covers the row and the digest before it, so that a row that was changed or
# removed later is found.
operation = sa.Table(
    "operation",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Column("action", Name, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("digest", Name, nullable=False, unique=True),
)

# `epoch` is the fencing token: it grows with every new holder.
lease = sa.Table(
    "lease",
    METADATA,
    sa.Column("name", Name, primary_key=True),
    sa.Column("holder", Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)

# Only where several programs write: on SQLite the last number is that of the last claim.  Whoever writes
# claims, stock or campaigns locks the row `claim.seq` first, so that all of them come one after the other.
counter = sa.Table(
    "counter",
    METADATA,
    sa.Column("name", Name, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

# What is told to others, written in the transaction that it tells of: one row for all claims of a batch,
# because their numbers follow each other.  All who write hold the one lock, so ids grow in the order of
# commits.  Rows are deleted later, and an id that was given once is not given again.
outbox = sa.Table(
    "outbox",
    METADATA,
    sa.Column("id", Number, primary_key=True, autoincrement=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("kind", Name, nullable=False),
    sa.Column("first_seq", sa.BigInteger, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# How far each destination has been told.
relay = sa.Table(
    "relay",
    METADATA,
    sa.Column("name", Name, primary_key=True),
    sa.Column("outbox_id", sa.BigInteger, nullable=False),
    sa.Column("event_offset", sa.Integer, nullable=False),
)

# Only in the first of several ledgers: which of them a slug belongs to.  It is written before the campaign.
placement = sa.Table(
    "placement",
    METADATA,
    sa.Column("slug", Name, primary_key=True),
    sa.Column("ledger_id", sa.BigInteger, nullable=False),
)
