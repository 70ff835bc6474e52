"""An edge in front of a server of the tests: rendered by the command, run by a real nginx."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from headgate.lab.servers.nginx import nginx, nginx_program, wheel_program
from headgate.lab.servers.process import NoServer, Server
from tests.acceptance.product import free_port, run_cli
from tests.installing import debian_package
from tests.needs import unavailable


def program() -> Path:
    """That of the machine; where it has none, Debian's, else that of the wheel."""
    if wheel_program() is not None and _found() == wheel_program():
        debian_package("nginx-light", lambda: _found() != wheel_program())
    found = _found()
    return found if found is not None else unavailable("NO NGINX: install it, or name it in TEST_NGINX")


def _found() -> Path | None:
    try:
        return nginx_program()
    except NoServer:
        return None


class Edge(NamedTuple):
    url: str
    directory: Path
    server: Server

    def log(self) -> str:
        """What is written for each request."""
        return (self.directory / "log" / "edge-access.log").read_text()


def settings(directory: Path, port: int, public: Path, nodes: str) -> dict[str, str]:
    """Variables of an edge that keeps all of its files in `directory`."""
    for name in ("log", "cache", "run"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    return {
        "HEADGATE_PUBLIC_DIR": str(public),
        "HEADGATE_EDGE__LISTEN": f"127.0.0.1:{port}",
        "HEADGATE_EDGE__NODES": nodes,
        "HEADGATE_EDGE__USER": "root" if os.geteuid() == 0 else "nobody",
        "HEADGATE_TRUSTED_PROXIES": "127.0.0.0/8",
        "HEADGATE_EDGE__LOG_DIR": str(directory / "log"),
        "HEADGATE_EDGE__CACHE_DIR": str(directory / "cache"),
        "HEADGATE_EDGE__RUN_DIR": str(directory / "run"),
    }


@contextmanager
def edge(directory: Path, public: Path, nodes: str, more: Mapping[str, str] | None = None) -> Iterator[Edge]:
    """An edge before `nodes` (HOST:PORT, separated by commas), which serves what is published in `public`."""
    port = free_port()
    variables = settings(directory, port, public, nodes) | dict(more or {})
    chosen = program()
    run_cli("edge", "render", "--out", directory / "etc", "--nginx", chosen, settings=variables).ok()
    url = f"http://127.0.0.1:{port}"
    with nginx(directory / "etc/nginx/nginx.conf", url, directory / "nginx.log", chosen) as server:
        yield Edge(url, directory, server)
