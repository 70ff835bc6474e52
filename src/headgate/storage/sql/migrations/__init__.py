"""Alembic migrations of the ledger; applied by `headgate.storage.sql.migrating`."""
