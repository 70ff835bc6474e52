"""The data directory, the key and the ledgers, for every plane and command."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import URL, Engine
from sqlalchemy.exc import ArgumentError

from ..ports.ledger import ClaimLedger, LedgerUnavailable
from ..services.campaigns import Campaigns, Home
from ..services.nodes import Reporter, card_of
from ..services.operators import Operators
from ..services.sessions import Sessions
from ..settings import MAIN, Ledger, NoLedger, Settings, SettingsError
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import exists, ledger_id, make_ledger, open_engine, upgrade
from ..storage.sql.integrity import check_file
from ..storage.sql.leases import SqlLeases
from ..storage.sql.nodes import SqlNodes
from ..storage.sql.operators import SqlOperators
from ..storage.sql.placements import SqlPlacements
from ..storage.sql.schema import SCHEMA_VERSION
from ..storage.sql.server_claims import ServerClaims
from ..storage.sql.servers import server_url, shown
from ..storage.sql.sqlite_claims import SqliteClaims
from ..storage.system import SystemClock, SystemEntropy

KEY_BYTES = 32

CLOCK = SystemClock()
ENTROPY = SystemEntropy()

_log = structlog.get_logger("headgate")


Place = Path | URL
"""Where a ledger is: a SQLite file, or a database on a server."""


class Shard(NamedTuple):
    """A ledger among several, or the only one; replicas are numbered from 1."""

    name: str
    place: Place
    replica_places: list[URL]


def all_shards(settings: Settings) -> list[Shard]:
    """The first is MAIN.  Raises SettingsError."""
    return [_shard(settings, name, ledger) for name, ledger in settings.ledgers.items()]


def _shard(settings: Settings, name: str, ledger: Ledger) -> Shard:
    setting = "ledger" if name == MAIN else f"shards.{name}"
    if not ledger.url:
        place: Place = settings.data / "ledger.db"
    elif ledger.url.startswith("sqlite:///"):
        place = Path(ledger.url.removeprefix("sqlite:///"))
    else:
        place = _server_place(f"{setting}.url", ledger.url)
    replicas = [
        _server_place(f"number {number} of {setting}.replica_urls", url)
        for number, url in enumerate(ledger.replica_urls, 1)
    ]
    return Shard(name, place, replicas)


def shown_place(place: Place) -> str:
    """As messages may show it."""
    return str(place) if isinstance(place, Path) else shown(place)


def main_place(settings: Settings) -> Place:
    """Of the ledger with operators and nodes.  Raises SettingsError."""
    return _shard(settings, MAIN, settings.ledger).place


def _server_place(name: str, text: str) -> URL:
    try:
        url = server_url(text)
    except (ArgumentError, ValueError) as error:
        # A port that is no number is a ValueError.  The URL may hold a password, so it is not shown.
        raise SettingsError(
            f"{name} is no URL; write for example postgresql://headgate:PASSWORD@db.example:5432/headgate"
        ) from error
    if "@" in f"{url.host}{url.database}":
        # A part of a password would be shown as a host or a database.
        raise SettingsError(
            f"{name} has another @ behind the one before its host; in a user name or a password write @ as %40, "
            "/ as %2F, : as %3A, ? as %3F, # as %23 and % as %25"
        )
    if not url.database:
        raise SettingsError(f"{name} names no database; write for example {url.drivername}://{url.host}/headgate")
    return url


def open_claims(place: Place, *, steady: bool = False) -> ClaimLedger:
    """The hot side of the ledger, for one thread.

    `steady` is for who decides and looks up claims, always by the same keys; see `open_server_engine`.
    """
    if isinstance(place, Path):
        return SqliteClaims(place, CLOCK, ENTROPY)
    return ServerClaims(open_engine(place, steady=steady), None, ENTROPY)


def open_leases(engine: Engine, place: Place) -> SqlLeases:
    return SqlLeases(engine, CLOCK if isinstance(place, Path) else None)


def prepare_directory(settings: Settings) -> None:
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.run_dir.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the data directory {settings.data} cannot be used ({error.strerror}); "
            "choose another with --data or correct its permissions"
        ) from error
    try:
        settings.public_path.mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"public_dir is {settings.public_path}, which cannot be used ({error.strerror}); "
            "make it and give it to the account that serves"
        ) from error


def prepare_data(settings: Settings) -> None:
    """Make the data directory (0700) and the key (0600), check the ledgers, bring their schemas up to date.

    Of several ledgers one that is away is no reason not to serve the others.  Raises LedgerError (damaged, too new,
    all of them away), SettingsError.
    """
    prepare_directory(settings)
    load_key(settings)
    shards = all_shards(settings)
    away: list[LedgerUnavailable] = []
    for shard in shards:
        try:
            _prepare(settings, shard.place)
        except LedgerUnavailable as error:
            away.append(error)
            if len(away) == len(shards):
                raise
            _log.error("ledger_away", ledger=shard.name, error=str(error), action="serving the others")
    with open_campaigns(settings) as campaigns:
        if len(shards) > 1:
            check_apart(campaigns)
        with suppress(LedgerUnavailable):
            elsewhere = campaigns.elsewhere()
            if elsewhere:
                action = "serving the others; name their ledger in shards"
                _log.error("campaigns_elsewhere", campaigns=elsewhere, action=action)


def _prepare(settings: Settings, place: Place) -> None:
    if isinstance(place, Path):
        check_file(place)
    engine = _current(settings, place)
    try:
        SqlCampaigns(engine, CLOCK).check()
    finally:
        engine.dispose()


def check_apart(campaigns: Campaigns) -> None:
    """Raises SettingsError where two names lead to one ledger, or two ledgers have a campaign of the same slug."""
    try:
        campaigns.check_apart()
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _current(settings: Settings, place: Place) -> Engine:
    """The ledger with this program's schema; made where there is none."""
    with ExitStack() as stack:
        if isinstance(place, Path):
            # Planes and commands that begin at the same moment do this in turn; a server has locks for that.
            turn = stack.enter_context((settings.run_dir / "prepare.lock").open("w"))
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not place.exists():
                make_ledger(place)
        engine = open_engine(place)
        try:
            upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine


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
    return read_key(path)


def read_key(path: Path) -> bytes:
    """Of a file that is there; raises SettingsError."""
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
def open_ledger(settings: Settings, place: Place, *, create: bool = False) -> Iterator[Engine]:
    """The ledger with this program's schema.  Raises NoLedger where there is none and none is to be made."""
    if not create and not exists(place):
        # Not made by looking: whoever mistyped a directory would be told that it holds nothing.
        raise NoLedger(
            f"there is no ledger {shown_place(place)}; name its data directory with --data, or its server with "
            "ledger.url, or begin one with `headgate campaign create`"
        )
    if isinstance(place, Path):
        prepare_directory(settings)
    engine = _current(settings, place)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def open_campaigns(settings: Settings, *, create: bool = False) -> Iterator[Campaigns]:
    """The cold side of all ledgers, for commands; each is opened when it is asked.

    What is asked raises NoLedger where there is none and none is to be made.
    """
    with ExitStack() as stack:

        def home(shard: Shard) -> Home:
            return _home(stack.enter_context(open_ledger(settings, shard.place, create=create)))

        yield Campaigns({shard.name: partial(home, shard) for shard in all_shards(settings)})


def _home(engine: Engine) -> Home:
    return Home(ledger_id(engine), SqlCampaigns(engine, CLOCK), SqlPlacements(engine))


def home_of(engine: Engine) -> Callable[[], Home]:
    """For a plane, whose ledger may be away when it begins."""
    return cache(partial(_home, engine))


@contextmanager
def open_operators(settings: Settings, *, create: bool = False) -> Iterator[Operators]:
    """Console accounts, for commands.  Raises NoLedger where there is none and none is to be made."""
    with open_ledger(settings, main_place(settings), create=create) as engine:
        yield Operators(SqlOperators(engine, CLOCK), CLOCK, ENTROPY)


@contextmanager
def open_nodes(settings: Settings) -> Iterator[SqlNodes]:
    """The register of nodes, for commands.  Raises NoLedger where there is none."""
    place = main_place(settings)
    with open_ledger(settings, place) as engine:
        yield make_nodes(engine, place)


def make_nodes(engine: Engine, place: Place) -> SqlNodes:
    return SqlNodes(engine, CLOCK if isinstance(place, Path) else None)


def reporter(settings: Settings, plane: str, listen: str) -> Reporter:
    """Who tells the ledger that this plane of this node is there."""
    place = main_place(settings)
    card = card_of(settings, load_key(settings), SCHEMA_VERSION, listen)
    return Reporter(make_nodes(open_engine(place), place), settings.node, plane, card, time.monotonic)


def open_sessions(settings: Settings) -> Sessions:
    return Sessions(load_key(settings), CLOCK, ENTROPY)
