"""Real servers for tests, started by the tests themselves on loopback, and ended with them.

Those of the lab, and some that only tests need; MariaDB and MySQL are in `tests.mysql_servers`.  Each is found in
this order: environment variable, PATH, wheel, apt where we are root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import redis

from headgate.lab.servers import postgresql as lab_postgresql
from headgate.lab.servers import valkey as lab_valkey
from headgate.lab.servers.process import NoServer, Server, free_port, own
from headgate.lab.servers.valkey import ValkeyCluster, until_says, valkey_answers, valkey_server
from tests.installing import debian_package
from tests.needs import unavailable

__all__ = [
    "Server",
    "ValkeyCluster",
    "free_port",
    "nats",
    "postgresql",
    "valkey",
    "valkey_cluster",
    "valkey_sentinel",
]


@contextlib.contextmanager
def postgresql(directory: Path, **settings: str) -> Iterator[Server]:
    """A PostgreSQL server with an empty database."""
    with _or_unavailable(), lab_postgresql.postgresql(directory, **settings) as server:
        yield server


@contextlib.contextmanager
def valkey(directory: Path, *options: str) -> Iterator[Server]:
    """A Valkey server with nothing in it."""
    with _or_unavailable(), lab_valkey.valkey(directory, *options) as server:
        yield server


@contextlib.contextmanager
def valkey_cluster(directory: Path) -> Iterator[ValkeyCluster]:
    """Three primaries, each with a replica that takes over a second after its death."""
    with _or_unavailable(), lab_valkey.valkey_cluster(directory) as cluster:
        yield cluster


@contextlib.contextmanager
def _or_unavailable() -> Iterator[None]:
    try:
        yield
    except NoServer as error:
        unavailable(str(error))


def _nats_program() -> Path | None:
    found = os.environ.get("TEST_NATS_SERVER") or shutil.which("nats-server", path=os.environ["PATH"] + ":/usr/sbin")
    return Path(found) if found else None


@contextlib.contextmanager
def nats(directory: Path, *options: str, jetstream: bool = True) -> Iterator[Server]:
    """A NATS server with JetStream, and nothing in it."""
    if _nats_program() is None:
        debian_package("nats-server", _nats_program)
    program = _nats_program()
    if program is None:
        unavailable("NO NATS: install it (Debian: apt install nats-server), or name its server in TEST_NATS_SERVER")
    home, port = directory / "nats", free_port()
    own(home)
    command: list[str | Path] = [program, "--addr", "127.0.0.1", "--port", str(port), *options]
    if jetstream:
        command += ["--jetstream", "--store_dir", home]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    server = Server(command, directory / "nats.log", f"nats://127.0.0.1:{port}", environment, answers=_listens)
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.stop()


def _listens(url: str) -> bool:
    host, _, port = url.partition("://")[2].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False


class Watched(NamedTuple):
    """A server that sentinels watch over; `url` is how clients find it."""

    primary: Server
    replica: Server
    url: str


@contextlib.contextmanager
def valkey_sentinel(directory: Path) -> Iterator[Watched]:
    """A primary with a replica, and one sentinel, which makes the replica the primary half a second after its death."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(valkey(directory))
        place = primary.url.removeprefix("redis://").split(":")
        replica = stack.enter_context(valkey(directory / "replica", "--replicaof", *place))
        port, home = free_port(), directory / "sentinel"
        home.mkdir(mode=0o700)
        settings = [
            f"port {port}", "bind 127.0.0.1", f"dir {home}", f"sentinel monitor shared {' '.join(place)} 1",
            "sentinel down-after-milliseconds shared 500", "sentinel failover-timeout shared 2000",
        ]  # fmt: skip
        file = home / "sentinel.conf"
        file.write_text("\n".join(settings) + "\n", encoding="utf-8")
        command: list[str | Path] = [valkey_server(), file, "--sentinel"]
        sentinel = Server(
            command, home / "log", f"redis://127.0.0.1:{port}", {"PATH": os.environ["PATH"]},
            answers=valkey_answers, user={},
        )  # fmt: skip
        stack.callback(sentinel.stop)
        sentinel.start()
        sentinel.wait()
        for server, command_, says in (
            (replica, "INFO replication", "'master_link_status': 'up'"),
            (sentinel, "INFO sentinel", "'slaves': 1"),
        ):
            client = redis.Redis.from_url(server.url)
            until_says(client, command_, says)
            client.close()
        yield Watched(primary, replica, f"redis+sentinel://127.0.0.1:{port}/shared")
