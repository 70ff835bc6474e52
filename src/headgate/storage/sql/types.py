"""Column types that mean the same on every engine.

MySQL and MariaDB cannot index texts without a length, and compare texts without regard to case unless
they are told otherwise.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

_BINARY_ORDER = "utf8mb4_bin"

Name = sa.Text().with_variant(mysql.VARCHAR(64, collation=_BINARY_ORDER), "mysql", "mariadb")
"""A name of at most 64 characters, or the hexadecimal digest of one."""

Text = sa.Text().with_variant(mysql.TEXT(collation=_BINARY_ORDER), "mysql", "mariadb")

Bytes16 = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")

Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A key that may grow beyond 31 bits; on SQLite the type that makes it the row's own."""
