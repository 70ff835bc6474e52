"""Frozen, typed configuration, parsed once.

Each setting comes from the first of: a command-line option, an environment variable
(`HEADGATE_LIMITS__PER_IP_PER_MINUTE`), the TOML file given with `--config` (or `HEADGATE_CONFIG`), the default.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

PREFIX = "HEADGATE_"
WORKERS_MAX = 64

LEDGER_SERVERS = ("postgresql", "mysql", "mariadb")
"""Schemes of a `ledger.url` that leads to a database server."""

_FAMILY = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""What kind of server a scheme leads to."""

REPLICAS_MAX = 16
"""Each process asks every replica once a second how far it has come."""

_LISTS = {"trusted_proxies", "replica_urls"}
"""Settings that a variable gives as a list: separated by commas, or as JSON."""


MEMORY_GATE = "memory:"

HOST_CHARS_MAX = 32
NODE_NAME = re.compile(r"[A-Za-z0-9._:-]{1,40}")
WEBHOOKS_MAX = 16
"""Each has a thread, and a connection to the ledger."""

WEBHOOK_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}")
"""By it the ledger remembers how far a webhook has been told; a variable can hold one without `-`."""


_URL_CHARACTERS = re.compile(r"[!-~]*")
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?|[0-9a-f]*:[0-9a-f:.]*")
"""A name as the DNS has it, or an address."""


class NoLedger(Exception):
    """There is no ledger where the settings say; the message names the path and what to do."""


class SettingsError(Exception):
    """A setting cannot be used; the message names it, its value and the remedy."""


class Address(msgspec.Struct, frozen=True):
    """Where a listener binds."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    per_ip_per_minute: int = 200
    """Requests that one address may make in a minute; 0 switches the limit off."""
    concurrency: int = 350
    """Claims in progress per worker; more are refused at once."""


class Console(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:8001"


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    """SQLAlchemy URL; empty: the SQLite file `ledger.db` in the data directory."""
    replica_urls: tuple[str, ...] = ()
    """Servers that follow that of `url`, for what may be read a little late."""


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = MEMORY_GATE
    """`redis://…`, `redis+cluster://…` or `redis+sentinel://…`: what the nodes share."""


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    """Where events are posted to: https, or http on this machine."""
    secret_file: str = ""
    """File with what requests are signed by; empty: they are not signed."""


class Events(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stream: bool = False
    """Whether events go to a stream on the server of `gate.url`."""
    webhooks: dict[str, Webhook] = {}
    """By their names."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:8000"
    console: Console = msgspec.field(default_factory=Console)
    data_dir: str = "headgate-data"
    workers: int = 1
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    gate: Gate = msgspec.field(default_factory=Gate)
    events: Events = msgspec.field(default_factory=Events)
    limits: Limits = msgspec.field(default_factory=Limits)
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-For is believed; nobody's by default."""
    secret_file: str = ""
    """Key file; empty: `secret.key` in the data directory, made on first start."""
    node_name: str = ""
    """How this node is called among those that share its ledger; empty: host and port of `listen`."""

    @property
    def data(self) -> Path:
        return Path(self.data_dir)

    @property
    def ledger_file(self) -> Path | None:
        """The embedded ledger; None where the ledger is on a server."""
        if self.ledger.url.startswith("sqlite:///"):
            return Path(self.ledger.url.removeprefix("sqlite:///"))
        return None if self.ledger.url else self.data / "ledger.db"

    @property
    def secret_path(self) -> Path:
        return Path(self.secret_file) if self.secret_file else self.data / "secret.key"

    @property
    def node(self) -> str:
        return self.node_name or f"{os.uname().nodename[:HOST_CHARS_MAX]}:{self.listen_address.port}"

    @property
    def public_dir(self) -> Path:
        """Files that the edge may serve to everybody."""
        return self.data / "public"

    @property
    def run_dir(self) -> Path:
        """Files that live only as long as the processes: metrics, process ids."""
        return self.data / "run"

    @property
    def listen_address(self) -> Address:
        return parse_address("listen", self.listen)

    @property
    def console_address(self) -> Address:
        return parse_address("console.listen", self.console.listen)


def parse_address(name: str, value: str) -> Address:
    """HOST:PORT, with an IPv6 host in brackets.  Raises SettingsError."""
    host, separator, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"{name} is {value!r}, which is no HOST:PORT; write for example 127.0.0.1:8000")
    return Address(host, int(port))


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG":
            continue
        *tables, key = name.removeprefix(PREFIX).lower().split("__")
        if (*tables, key) == ("events", "webhooks"):
            # Its value is not shown: whoever mistakes it writes a URL there.
            raise SettingsError(f"{name} is set, but webhooks have names; write {name}__NAME__URL")
        table = found
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise SettingsError(
                    f"{name} is set, and so is {PREFIX}{part.upper()}, which is a table of settings; unset that one"
                )
        if isinstance(table.get(key), dict):
            raise SettingsError(f"{name} is {value!r}, but it is a table of settings; unset it and keep {name}__…")
        table[key] = _listed(name, value) if key in _LISTS else value
    return found


def _listed(name: str, value: str) -> list[Any]:
    """Raises SettingsError without the value, which may hold a password."""
    if not value.lstrip().startswith("["):
        return [part.strip() for part in value.split(",") if part.strip()]
    try:
        items: list[Any] = json.loads(value)
    except ValueError as error:
        raise SettingsError(
            f'{name} begins as a JSON list and is none ({error}); write ["FIRST", "SECOND"], or FIRST,SECOND'
        ) from error
    return items


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"the configuration file {path} cannot be read ({error.strerror}); check its path and permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        # Beside TOMLDecodeError and UnicodeDecodeError, numbers and tables beyond what the parser takes.
        raise SettingsError(f"the configuration file {path} is no valid TOML: {error}; correct that line") from error


def _check(settings: Settings) -> None:
    parse_address("listen", settings.listen)
    parse_address("console.listen", settings.console.listen)
    if not 1 <= settings.workers <= WORKERS_MAX:
        raise SettingsError(f"workers is {settings.workers}; give 1 to {WORKERS_MAX}")
    if settings.limits.per_ip_per_minute < 0:
        raise SettingsError(
            f"limits.per_ip_per_minute is {settings.limits.per_ip_per_minute}; give 0 (off) or a positive number"
        )
    if settings.node_name and not NODE_NAME.fullmatch(settings.node_name):
        raise SettingsError(
            f"node_name is {settings.node_name!r}; give 1 to 40 of A-Z, a-z, 0-9, '.', '_', ':' and '-'"
        )
    if settings.limits.concurrency < 1:
        raise SettingsError(f"limits.concurrency is {settings.limits.concurrency}; give a positive number")
    _check_ledger(settings.ledger)
    _check_events(settings)
    for network in settings.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise SettingsError(
                f"trusted_proxies holds {network!r}, which is no address or network ({error}); "
                "write for example 10.0.0.0/8"
            ) from error


def _check_ledger(ledger: Ledger) -> None:
    scheme = ledger.url.split(":", 1)[0]
    if ledger.url and scheme != "sqlite" and scheme not in LEDGER_SERVERS:
        raise SettingsError(
            f"ledger.url names the scheme {scheme!r}, which this version does not serve; use one of "
            f"{', '.join(f'{known}://' for known in LEDGER_SERVERS)}, or leave it empty for the embedded SQLite ledger"
        )
    if scheme == "sqlite" and not ledger.url.startswith("sqlite:///"):
        raise SettingsError(f"ledger.url is {ledger.url!r}; a SQLite ledger is sqlite:///PATH, or is left out")
    if scheme == "sqlite" and "?" in ledger.url:
        raise SettingsError(
            f"ledger.url is {ledger.url!r}, with options after the question mark; "
            "a SQLite ledger knows none, leave them out"
        )
    _check_replicas(ledger, scheme)


def _check_replicas(ledger: Ledger, scheme: str) -> None:
    """The URLs may hold passwords, so they are named by their place in the list."""
    if ledger.replica_urls and scheme not in LEDGER_SERVERS:
        raise SettingsError(
            f"ledger.replica_urls names {len(ledger.replica_urls)}, but the ledger is a SQLite file, which has no "
            "replicas; leave it out, or name the primary's server in ledger.url"
        )
    if len(ledger.replica_urls) > REPLICAS_MAX:
        raise SettingsError(f"ledger.replica_urls names {len(ledger.replica_urls)} servers; at most {REPLICAS_MAX}")
    for number, url in enumerate(ledger.replica_urls, 1):
        found = url.split(":", 1)[0] if "://" in url else ""
        if _FAMILY.get(found) != _FAMILY[scheme]:
            raise SettingsError(
                f"number {number} of ledger.replica_urls has the scheme {found!r}, and ledger.url {scheme!r}; "
                f"a replica follows a server of its own kind: write {scheme}://USER:PASSWORD@HOST/DATABASE"
            )


def _check_events(settings: Settings) -> None:
    events = settings.events
    if events.stream and settings.gate.url == MEMORY_GATE:
        raise SettingsError(
            f"events.stream is true, and gate.url is {MEMORY_GATE}, which has no stream; "
            "name a Redis or Valkey in gate.url, for example redis://127.0.0.1:6379"
        )
    if len(events.webhooks) > WEBHOOKS_MAX:
        raise SettingsError(f"events.webhooks holds {len(events.webhooks)}; at most {WEBHOOKS_MAX} are told of events")
    for name, webhook in events.webhooks.items():
        if not WEBHOOK_NAME.fullmatch(name):
            raise SettingsError(
                f"events.webhooks holds the name {name!r}; use 1 to 48 of a-z, 0-9, - and _, beginning with a letter"
            )
        _check_webhook_url(f"events.webhooks.{name}.url", webhook.url)


def _check_webhook_url(name: str, url: str) -> None:
    """Only scheme, host and port are shown: the rest of a webhook's URL is often what keeps others out."""
    remedy = "write for example https://shop.example/headgate"
    if not url:
        raise SettingsError(f"{name} is not given; {remedy}")
    if not _URL_CHARACTERS.fullmatch(url):
        raise SettingsError(f"{name} holds spaces or letters beyond ASCII, which no URL does; write them as %XX")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"{name} is no URL ({error}); {remedy}") from error
    if parts.scheme not in ("http", "https") or not host or not _HOST.fullmatch(host):
        raise SettingsError(f"{name} names the scheme {parts.scheme!r} and the host {host!r}; {remedy}")
    shown = f"{parts.scheme}://" + (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    if parts.username is not None:
        raise SettingsError(
            f"{name} leads to {shown} with a name and a password in it; leave them out, "
            "and let the receiver check signatures (secret_file)"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(f"{name} leads to {shown}, which everybody on the way can read; use https")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _place(said: str, config: Path | None, environment: Mapping[str, str]) -> str:
    """What is wrong, with the variable or the file that says so and the value where it comes from a variable."""
    what, _, where = said.partition(" - at `$")
    path = [part for part in where.rstrip("`").split(".") if part]
    unknown = re.search(r"unknown field `(\w+)`", what)
    if unknown:
        path.append(unknown[1])
        what = "there is no such setting"
    variable = PREFIX + "__".join(path).upper()
    if variable in environment:
        # A URL may hold a password.
        value = "a URL" if "://" in environment[variable] else repr(environment[variable])
        return f"{variable} is {value}: {what}"
    return f"{'.'.join(path) or 'the configuration'} in {config or 'the options'}: {what}"


def load(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from file, environment and `overrides` (nested like the file).  Raises SettingsError."""
    environment = os.environ if environment is None else environment
    if config is None and environment.get(f"{PREFIX}CONFIG"):
        config = Path(environment[f"{PREFIX}CONFIG"])
    merged = _read_file(config) if config else {}
    merged = _merge(merged, _from_environment(environment))
    merged = _merge(merged, overrides or {})
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{_place(str(error), config, environment)}; see the settings in docs/reference/settings.md"
        ) from error
    _check(settings)
    return settings
