"""What can be set, and what it is where nobody sets it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

LEDGER_SERVERS = ("postgresql", "mysql", "mariadb")
"""Schemes of a `ledger.url` that leads to a database server."""


MEMORY_GATE = "memory:"

MAIN = "main"
"""What the ledger of `ledger.url` is called where there are others beside it."""

HOST_CHARS_MAX = 32


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
    concurrency: int | Literal["adaptive"] = 350
    """Claims in progress per worker; more are refused at once.  `adaptive`: as many as are answered in time."""


class Console(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:8001"


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    """SQLAlchemy URL; that of `ledger` may be empty: the SQLite file `ledger.db` in the data directory."""
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


class Nats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = ""
    """`tls://HOST:4222`, or `nats://` on this machine; empty: none."""
    secret_file: str = ""
    """File with `USER:PASSWORD` or a token; empty: the server asks for neither."""


class Events(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stream: bool = False
    """Whether events go to a stream on the server of `gate.url`."""
    webhooks: dict[str, Webhook] = {}
    """By their names."""
    nats: Nats = msgspec.field(default_factory=Nats)
    """A server with JetStream."""


class Edge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A web server in front (nginx), for `headgate edge render`."""

    server_names: tuple[str, ...] = ()
    """What browsers ask for; empty: any name."""
    listen: str = "0.0.0.0:80"
    listen_tls: str = "0.0.0.0:443"
    """Used where there is a certificate; then `listen` only leads here."""
    certificate: str = ""
    certificate_key: str = ""
    nodes: tuple[str, ...] = ()
    """HOST:PORT of participant planes; empty: that of `listen`."""
    backup_nodes: tuple[str, ...] = ()
    """A standby cluster, asked only while none of `nodes` answers."""
    workers: int = 0
    """Worker processes; 0: one for each core."""
    connections: int = 10_240
    """Of each worker process, those to nodes included."""
    user: str = "www-data"
    log_dir: str = "/var/log/headgate"
    cache_dir: str = "/var/cache/headgate"
    run_dir: str = "/run/headgate"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    listen: str = "127.0.0.1:8000"
    console: Console = msgspec.field(default_factory=Console)
    data_dir: str = "headgate-data"
    public_dir: str = ""
    """Where files are published that the edge serves; empty: `public` in the data directory."""
    workers: int = 1
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    """With operators and nodes, and campaigns as on any shard."""
    shards: dict[str, Ledger] = {}
    """More ledgers, by their names; a campaign lives on one."""
    gate: Gate = msgspec.field(default_factory=Gate)
    events: Events = msgspec.field(default_factory=Events)
    limits: Limits = msgspec.field(default_factory=Limits)
    edge: Edge = msgspec.field(default_factory=Edge)
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
    def ledgers(self) -> dict[str, Ledger]:
        """All of them by their names, MAIN first."""
        return {MAIN: self.ledger, **self.shards}

    @property
    def secret_path(self) -> Path:
        return Path(self.secret_file) if self.secret_file else self.data / "secret.key"

    @property
    def node(self) -> str:
        return self.node_name or f"{os.uname().nodename[:HOST_CHARS_MAX]}:{self.listen_address.port}"

    @property
    def public_path(self) -> Path:
        """Files that the edge may serve to everybody."""
        return Path(self.public_dir) if self.public_dir else self.data / "public"

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
