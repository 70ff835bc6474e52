"""Migrations of the schema, with alembic."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from ...ports.ledger import LedgerError
from .servers import shown

_MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaTooNew(LedgerError):
    """The ledger was migrated by a newer program, and this one would write it wrongly."""


def migrate(connection: sa.Connection, to: str = "head") -> None:
    """Run the migrations that are missing, in the caller's transaction; raises SchemaTooNew."""
    config = _config()
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaTooNew(
            f"the ledger {shown(connection.engine.url)} has schema {current}, and this program knows up to "
            f"{scripts.get_current_head()}; run the newer program"
        )
    command.upgrade(config, to)


def newest() -> str | None:
    """The version of the last migration."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
