"""Options that every command reads alike, and how a command ends."""

from __future__ import annotations

import getpass
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn

from cyclopts import Parameter, Token
from rich.console import Console

from headgate import settings as settings_module
from headgate.ports.ledger import CampaignLedger
from headgate.services.campaigns import Campaigns
from headgate.services.reports import Reports
from headgate.settings import Settings

UNCUT = 500
"""Characters of a line that nobody looks at on a screen."""

STDERR = Console(stderr=True, highlight=False, soft_wrap=True)


def table_console() -> Console:
    """Into a file or another program nothing is cut to the width of a screen that is not there."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(width=UNCUT, highlight=False)


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Where the settings come from."""

    config: Annotated[Path | None, Parameter(help="TOML file with settings (or HEADGATE_CONFIG).")] = None
    data: Annotated[
        Path | None, Parameter(help="Data directory with the ledger, keys and published files (or HEADGATE_DATA_DIR).")
    ] = None

    def load(self, **overrides: Any) -> Settings:
        """Settings with the options given on the command line on top.  Raises SettingsError."""
        given = {key: value for key, value in overrides.items() if value is not None}
        if self.data is not None:
            given["data_dir"] = str(self.data)
        return settings_module.load(self.config, given)

    @contextmanager
    def campaigns(self, *, create: bool = False) -> Iterator[Campaigns]:
        """Those of all ledgers.  They are imported here, so that `--help` need not wait for SQLAlchemy."""
        from headgate.bootstrap import ledger

        with ledger.open_campaigns(self.load(), create=create) as campaigns:
            yield campaigns

    @contextmanager
    def ledger_of(self, slug: str) -> Iterator[CampaignLedger]:
        """The cold side of the ledger that has the campaign."""
        with self.campaigns() as campaigns:
            yield campaigns.of(slug)

    @contextmanager
    def reports(self, slug: str) -> Iterator[Reports]:
        """Counts and exports of a campaign, from a replica where there is one."""
        from headgate.bootstrap import replicas

        with replicas.open_reports(self.load(), slug) as reports:
            yield reports


COMMON = Common()

Slug = Annotated[str, Parameter(help="The campaign's slug; `headgate campaign list` shows all.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="As JSON, for scripts.")]

_DIGITS_MAX = 18
"""More than any number of ours has."""


class CommandError(Exception):
    """What happened, the value, what to do: printed as it is, exit code 1."""


def fail(message: str, code: int = 1) -> NoReturn:
    STDERR.print(f"headgate: {message}", markup=False)
    sys.exit(code)


@contextmanager
def private(path: Path) -> Iterator[BinaryIO]:
    """A file that only its owner can read, from its first byte on; what was there before is replaced."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file


def actor() -> str:
    """Who is recorded in the audit trail: the account that runs the command."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:uid-{os.getuid()}"


def whole(_type: Any, tokens: Sequence[Token]) -> int:
    """A whole number and nothing that could be rounded to one."""
    value = tokens[0].value
    if not re.fullmatch(r"[+-]?[0-9]+", value):
        raise ValueError(f"{value!r} is no whole number")
    if len(value) > _DIGITS_MAX:
        raise ValueError(f"{value[:40]} is out of range")
    return int(value)


def now_ms() -> int:
    """The wall clock, as the planes on this machine see it (ms)."""
    return time.time_ns() // 1_000_000
