"""The data directory, the key and the ledger, for every plane and command."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine

from ..services.operators import Operators
from ..services.sessions import Sessions
from ..settings import NoLedger, Settings, SettingsError
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import make_ledger, open_engine, upgrade
from ..storage.sql.integrity import check_file
from ..storage.sql.operators import SqlOperators
from ..storage.system import SystemClock, SystemEntropy

KEY_BYTES = 32

CLOCK = SystemClock()
ENTROPY = SystemEntropy()


def ledger_file(settings: Settings) -> Path:
    url = settings.ledger.url
    return Path(url.removeprefix("sqlite:///")) if url else settings.ledger_file


def prepare_directory(settings: Settings) -> None:
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for directory in (settings.public_dir, settings.run_dir):
            directory.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the data directory {settings.data} cannot be used ({error.strerror}); "
            "choose another with --data or correct its permissions"
        ) from error


def prepare_data(settings: Settings) -> None:
    """Make the data directory (0700) and the key (0600), check the ledger, bring its schema up to date.

    Raises LedgerError (damaged or too new), SettingsError.
    """
    prepare_directory(settings)
    load_key(settings)
    path = ledger_file(settings)
    check_file(path)
    engine = _current(settings, path)
    try:
        SqlCampaigns(engine, CLOCK).check()
    finally:
        engine.dispose()


def _current(settings: Settings, path: Path) -> Engine:
    """The ledger with this program's schema; made where there is none."""
    # Planes and commands that begin at the same moment do this one after the other.
    with (settings.run_dir / "prepare.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not path.exists():
            make_ledger(path)
        engine = open_engine(path)
        try:
            upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine


def check_ledger(settings: Settings) -> None:
    """Raises LedgerError where the ledger is damaged; a ledger that does not exist yet is whole."""
    path = ledger_file(settings)
    if not path.exists():
        return
    check_file(path)
    engine = open_engine(path)
    try:
        SqlCampaigns(engine, CLOCK).check()
    finally:
        engine.dispose()


def load_key(settings: Settings) -> bytes:
    """The secret key; made on first use, readable by its owner only.  Raises SettingsError."""
    path = settings.secret_path
    if not path.exists():
        try:
            _make_key(path)
        except OSError as error:
            raise SettingsError(
                f"the key file {path} cannot be made ({error.strerror}); name another with secret_file, "
                "or correct the directory's permissions"
            ) from error
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SettingsError(f"the key file {path} has mode {mode:03o}, so others can read it; run: chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, UnicodeDecodeError) as error:
        raise SettingsError(f"the key file {path} holds no hexadecimal key; restore it from a backup") from error
    if len(key) < KEY_BYTES:
        raise SettingsError(f"the key file {path} holds {len(key)} bytes; at least {KEY_BYTES} are needed")
    return key


def _make_key(path: Path) -> None:
    """A new key, whole or not at all; that of somebody who was faster stays."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _open_ledger(settings: Settings, *, create: bool) -> Iterator[Engine]:
    path = ledger_file(settings)
    if not create and not path.exists():
        # Not made by looking: whoever mistyped a directory would be told that it holds nothing.
        raise NoLedger(
            f"there is no ledger {path}; name its data directory with --data, "
            "or begin one with `headgate campaign create`"
        )
    prepare_directory(settings)
    engine = _current(settings, path)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def open_campaigns(settings: Settings, *, create: bool = False) -> Iterator[SqlCampaigns]:
    """The cold side of the ledger, for commands.  Raises NoLedger where there is none and none is to be made."""
    with _open_ledger(settings, create=create) as engine:
        yield SqlCampaigns(engine, CLOCK)


@contextmanager
def open_operators(settings: Settings, *, create: bool = False) -> Iterator[Operators]:
    """Console accounts, for commands.  Raises NoLedger where there is none and none is to be made."""
    with _open_ledger(settings, create=create) as engine:
        yield Operators(SqlOperators(engine, CLOCK), CLOCK, ENTROPY)


def open_sessions(settings: Settings) -> Sessions:
    return Sessions(load_key(settings), CLOCK, ENTROPY)
