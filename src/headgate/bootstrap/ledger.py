"""The data directory, the key and the ledger, for every plane and command."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL, Engine
from sqlalchemy.exc import ArgumentError

from ..ports.ledger import ClaimLedger
from ..services.nodes import Reporter, card_of
from ..services.operators import Operators
from ..services.sessions import Sessions
from ..settings import NoLedger, Settings, SettingsError
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import exists, make_ledger, open_engine, server_of, upgrade
from ..storage.sql.integrity import check_file
from ..storage.sql.leases import SqlLeases
from ..storage.sql.nodes import SqlNodes
from ..storage.sql.operators import SqlOperators
from ..storage.sql.schema import SCHEMA_VERSION
from ..storage.sql.server_claims import ServerClaims
from ..storage.sql.servers import server_url
from ..storage.sql.sqlite_claims import SqliteClaims
from ..storage.system import SystemClock, SystemEntropy

KEY_BYTES = 32

CLOCK = SystemClock()
ENTROPY = SystemEntropy()


Place = Path | URL
"""Where a ledger is: a SQLite file, or a database on a server."""


def ledger_place(settings: Settings) -> Place:
    """Raises SettingsError."""
    if settings.ledger_file is not None:
        return settings.ledger_file
    return _server_place("ledger.url", settings.ledger.url)


def replica_places(settings: Settings) -> list[URL]:
    """The servers that follow the ledger's, as they are numbered from 1.  Raises SettingsError."""
    return [
        _server_place(f"number {number} of ledger.replica_urls", url)
        for number, url in enumerate(settings.ledger.replica_urls, 1)
    ]


def _server_place(name: str, text: str) -> URL:
    try:
        url = server_url(text)
    except (ArgumentError, ValueError) as error:
        # A port that is no number is a ValueError.  The URL may hold a password, so it is not
        # shown.
        raise SettingsError(
            f"{name} is no URL; write for example postgresql://headgate:PASSWORD@db.example:5432/headgate"
        ) from error
    if not url.database:
        raise SettingsError(f"{name} names no database; write for example {url.set(password=None)}/headgate")
    return url


def open_claims(place: Place) -> ClaimLedger:
    """The hot side of the ledger, for one thread."""
    if isinstance(place, Path):
        return SqliteClaims(place, CLOCK, ENTROPY)
    return ServerClaims(open_engine(place), None, ENTROPY)


def open_leases(engine: Engine, place: Place) -> SqlLeases:
    return SqlLeases(engine, CLOCK if isinstance(place, Path) else None)


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
    place = ledger_place(settings)
    replica_places(settings)
    if isinstance(place, Path):
        check_file(place)
    engine = _current(settings, place)
    try:
        SqlCampaigns(engine, CLOCK).check()
    finally:
        engine.dispose()


def _current(settings: Settings, place: Place) -> Engine:
    """The ledger with this program's schema; made where there is none."""
    # Planes and commands that begin at the same moment do this one after the other.
    with (settings.run_dir / "prepare.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if isinstance(place, Path) and not place.exists():
            make_ledger(place)
        engine = open_engine(place)
        try:
            upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine


def check_ledger(settings: Settings) -> str:
    """What was found; raises LedgerError where the ledger is damaged or cannot be used."""
    place = ledger_place(settings)
    if not exists(place):
        return "there is none yet"
    if isinstance(place, Path):
        check_file(place)
    engine = open_engine(place)
    try:
        SqlCampaigns(engine, CLOCK).check()
        return "whole" if isinstance(place, Path) else f"whole, on {server_of(engine)}"
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
def open_ledger(settings: Settings, *, create: bool = False) -> Iterator[Engine]:
    """The ledger with this program's schema.  Raises NoLedger where there is none and none is to be made."""
    place = ledger_place(settings)
    if not create and not exists(place):
        # Not made by looking: whoever mistyped a directory would be told that it holds nothing.
        raise NoLedger(
            f"there is no ledger {place}; name its data directory with --data, or its server with ledger.url, "
            "or begin one with `headgate campaign create`"
        )
    prepare_directory(settings)
    engine = _current(settings, place)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def open_campaigns(settings: Settings, *, create: bool = False) -> Iterator[SqlCampaigns]:
    """The cold side of the ledger, for commands.  Raises NoLedger where there is none and none is to be made."""
    with open_ledger(settings, create=create) as engine:
        yield SqlCampaigns(engine, CLOCK)


@contextmanager
def open_operators(settings: Settings, *, create: bool = False) -> Iterator[Operators]:
    """Console accounts, for commands.  Raises NoLedger where there is none and none is to be made."""
    with open_ledger(settings, create=create) as engine:
        yield Operators(SqlOperators(engine, CLOCK), CLOCK, ENTROPY)


@contextmanager
def open_nodes(settings: Settings) -> Iterator[SqlNodes]:
    """The register of nodes, for commands.  Raises NoLedger where there is none."""
    with open_ledger(settings, create=False) as engine:
        yield make_nodes(engine, ledger_place(settings))


def make_nodes(engine: Engine, place: Place) -> SqlNodes:
    return SqlNodes(engine, CLOCK if isinstance(place, Path) else None)


def reporter(settings: Settings, plane: str, listen: str) -> Reporter:
    """Who tells the ledger that this plane of this node is there."""
    place = ledger_place(settings)
    card = card_of(settings, load_key(settings), SCHEMA_VERSION, listen)
    return Reporter(make_nodes(open_engine(place), place), settings.node, plane, card, time.monotonic)


def open_sessions(settings: Settings) -> Sessions:
    return Sessions(load_key(settings), CLOCK, ENTROPY)
