"""MariaDB and MySQL for tests, on loopback and ended with them.

Debian has no MySQL: where none is on PATH, the packages of Ubuntu 22.04 are unpacked, which needs no root.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from headgate.lab.servers.postgresql import sql_answers
from headgate.lab.servers.process import Server, free_port, own, run
from tests.installing import TOOLS, debian_package, one_at_a_time
from tests.needs import unavailable

DOWNLOAD_S = 120

ARCHIVE = "http://archive.ubuntu.com/ubuntu/pool/main/"
PACKAGES = {
    "m/mysql-8.0/mysql-server-core-8.0_8.0.28-0ubuntu4_amd64.deb": (
        "69a97fa36a94ce981cf4a5fd6eb674003fa42559b442ba9807309c69d1b90fdb"
    ),
    "liba/libaio/libaio1_0.3.112-13build1_amd64.deb": (
        "2dcfe0b49d7cccfbf1bd6a3f627cf44bea9f51fb32f7e0e552a0df75698e0d27"
    ),
    "libe/libevent/libevent-core-2.1-7_2.1.12-stable-1build3_amd64.deb": (
        "9317ae74915b9e4372f7506fbd16ae2a021e0ead79a8d88f96dad49b87d94508"
    ),
    "libe/libevent/libevent-pthreads-2.1-7_2.1.12-stable-1build3_amd64.deb": (
        "078211a125a9ef5a9c7d24eb441761cefde8812b69889f7cee96824b0dc66831"
    ),
    "i/icu/libicu70_70.1-2_amd64.deb": "58a154f6307289813da2276f900498ef536ae7c0522d2cf31a3c3c5cf62dfd9a",
    "p/protobuf/libprotobuf-lite23_3.12.4-1ubuntu7_amd64.deb": (
        "74213165bb99962044366f56d43eaebf7f7ffd7903d60820abd8373f6fe067c0"
    ),
    "m/mecab/libmecab2_0.996-14build9_amd64.deb": "cb25c996ff0ed53158bc6b9cda66f68f003ff3824f8276ddfa0ad20d60e1411a",
    "n/numactl/libnuma1_2.0.14-3ubuntu2_amd64.deb": "0721c89001fbbd1ada23e89da5d60e762763c1a7b3dc814a2e9a518480a8043d",
}
"""The server of the release and the libraries that it was built with, each with its SHA-256.

What a release began with stays in the archive as long as the release is there.
"""


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
    environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": str(directory)}
    with _turn():
        arguments = ["--no-defaults", f"--datadir={directory / 'data'}", "--auth-root-authentication-method=normal"]
        run([install, *arguments], env=environment)
    with _serving([daemon, "--no-defaults", *options], directory, environment) as server:
        yield server


@contextlib.contextmanager
def mysql(directory: Path, *options: str) -> Iterator[Server]:
    """A MySQL server without a database of ours."""
    daemon, libraries = _mysql()
    directory = directory / "mysql"
    own(directory)
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LD_LIBRARY_PATH": libraries}
    # It looks for its messages where it would be installed; without them it speaks English all the same.
    begin: list[str | Path] = [daemon, "--no-defaults"]
    with _turn():
        run([*begin, "--initialize-insecure", f"--datadir={directory / 'data'}"], env=environment)
    with _serving([*begin, "--mysqlx=OFF", "--secure-file-priv=NULL", *options], directory, environment) as server:
        yield server


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Installations beside each other fail now and then."""
    with (Path(tempfile.gettempdir()) / "headgate-tests-mysql.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _serving(begin: list[str | Path], directory: Path, environment: dict[str, str]) -> Iterator[Server]:
    port = free_port()
    command: list[str | Path] = [
        *begin, f"--datadir={directory / 'data'}", f"--socket={directory / 's'}", f"--port={port}",
        "--bind-address=127.0.0.1", f"--pid-file={directory / 'pid'}",
    ]  # fmt: skip
    log = directory.parent / f"{directory.name}.log"
    url = f"{directory.name}+pymysql://root@127.0.0.1:{port}/"
    server = Server(command, log, url, environment, answers=sql_answers)
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.stop()


def _mysql() -> tuple[Path, str]:
    """The server's program and where its libraries are; "" where the system has them."""
    path = os.environ["PATH"] + ":/usr/sbin:/usr/libexec"
    for found in (os.environ.get("TEST_MYSQLD"), shutil.which("mysqld", path=path)):
        # MariaDB leaves a program of that name too.
        if found and b"MariaDB" not in subprocess.check_output([found, "--version"]):
            return Path(found), ""
    with one_at_a_time("mysql"):
        return _unpacked()


def _unpacked() -> tuple[Path, str]:
    place = TOOLS / "mysql-8.0.28"
    if not place.exists():
        why = "it is not packaged for this machine"
        if platform.machine() == "x86_64" and platform.system() == "Linux" and shutil.which("dpkg-deb"):
            try:
                _unpack(place)
            except (OSError, subprocess.CalledProcessError) as error:
                why = str(error)
        if not place.exists():
            unavailable(f"NO MYSQL: install it, or name its server in TEST_MYSQLD ({why})")
    return place / "usr/sbin/mysqld", str(place / "usr/lib/x86_64-linux-gnu")


def _unpack(place: Path) -> None:
    """Raises OSError where a package cannot be had, or is another one."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as name:
        making = Path(name)
        for path, digest in PACKAGES.items():
            with urllib.request.urlopen(ARCHIVE + path, timeout=DOWNLOAD_S) as answer:
                content = answer.read()
            if hashlib.sha256(content).hexdigest() != digest:
                raise OSError(f"{ARCHIVE}{path} is not what it was")
            file = making / "package.deb"
            file.write_bytes(content)
            subprocess.run(["dpkg-deb", "--extract", file, making / "root"], check=True, capture_output=True)
        # Whoever the server runs as has to read it.
        making.chmod(0o755)
        (making / "root").rename(place)
