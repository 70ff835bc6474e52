"""The doctor's examination of a machine: each check says what was found, whether that will do, and what to do."""

from __future__ import annotations

import os
import platform
import resource
import socket
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from headgate.edge.machine import OPEN_FILES, SOMAXCONN
from headgate.ports.destination import NotDelivered
from headgate.ports.gate import GateAway
from headgate.ports.ledger import LedgerDamaged, LedgerSlow
from headgate.ports.replicas import ReplicaAway
from headgate.settings import Address

SYNCS = 50
SYNC_GOOD_MS = 5.0
SYNC_BAD_MS = 60.0
"""A mechanical disk takes this long; commits are then counted in tens a second, however large the batch."""
PYTHON_WANTED = (3, 11)
SQLITE_WANTED = (3, 35)
"""RETURNING came with 3.35."""
CLOCK_SAMPLES = 5
CLOCK_STEP_MS = 5.0
FREE_WANTED_BYTES = 1_000_000_000


class Finding(msgspec.Struct, frozen=True):
    """`verdict`: `ok`, `warning` (works, but will hurt in a rush) or `failing`."""

    name: str
    verdict: str
    found: str
    advice: str = ""


def examine(
    data_dir: Path, listeners: dict[str, Address], stores: Mapping[str, Callable[[], str]], *, serving: bool
) -> Iterator[Finding]:
    """One finding after the other, so that a caller can show progress.

    Each of `stores` says what it found, and raises where the store cannot be used; `serving` says that a Headgate has
    this directory, and so its ports.
    """
    yield python_version()
    yield sqlite_version()
    yield file_limit()
    yield somaxconn()
    yield clock()
    writable = data_directory(data_dir)
    yield writable
    if writable.verdict != "failing":
        disk = existing(data_dir.absolute())
        yield free_space(disk)
        yield sync_latency(disk)
        for name, check in stores.items():
            yield store(name, check)
    for name, address in listeners.items():
        if serving:
            yield Finding(f"port {name}", "ok", f"not looked at ({address}): this data directory is being served")
        else:
            yield port_free(name, address)


def python_version() -> Finding:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    # Checked although the program needs it to start: a wheel may have been forced onto another version.
    if tuple(map(int, platform.python_version_tuple()[:2])) < PYTHON_WANTED:
        return Finding("python", "failing", found, "install Python 3.11 or later")
    return Finding("python", "ok", found)


def sqlite_version() -> Finding:
    if sqlite3.sqlite_version_info < SQLITE_WANTED:
        return Finding("sqlite", "failing", sqlite3.sqlite_version, "use a Python built with SQLite 3.35 or later")
    return Finding("sqlite", "ok", sqlite3.sqlite_version)


def file_limit() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files (hard limit {hard})"
    if soft >= OPEN_FILES:
        return Finding("file limit", "ok", found)
    advice = f"raise it to {OPEN_FILES}: LimitNOFILE= in the systemd unit, or /etc/security/limits.conf"
    return Finding("file limit", "warning", found, advice)


def somaxconn(path: Path = Path("/proc/sys/net/core/somaxconn")) -> Finding:
    try:
        value = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Finding("somaxconn", "ok", "not known on this system")
    if value >= SOMAXCONN:
        return Finding("somaxconn", "ok", str(value))
    advice = f"sysctl -w net.core.somaxconn={SOMAXCONN}, or connections are refused at opening"
    return Finding("somaxconn", "warning", str(value), advice)


def clock(wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> Finding:
    """Whether the wall clock runs evenly, and whether it can be right at all."""
    drifts = []
    for _ in range(CLOCK_SAMPLES):
        wall_before, steady_before = wall(), steady()
        time.sleep(0.01)
        drifts.append(abs((wall() - wall_before) - (steady() - steady_before)) * 1000)
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(wall()))
    if wall() < 1_735_689_600:
        return Finding("clock", "failing", f"{found} lies before 2025", "set the clock; campaigns open by it")
    if max(drifts) > CLOCK_STEP_MS:
        advice = "the clock steps while it runs: slew it with chrony or systemd-timesyncd"
        return Finding("clock", "warning", f"{found}, off by {max(drifts):.1f} ms within 10 ms", advice)
    return Finding("clock", "ok", found)


def existing(path: Path) -> Path:
    """The directory, or the one that it would be made in: looking makes nothing."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def data_directory(path: Path) -> Finding:
    if not path.exists():
        parent = existing(path.absolute())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            advice = "choose another with --data, or correct owner and permissions"
            return Finding("data directory", "failing", f"{path} cannot be made in {parent}", advice)
        advice = "`headgate serve` makes it; if it should be there, look at --data"
        return Finding("data directory", "warning", f"{path} is not there yet", advice)
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-"):
            pass
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        advice = "choose another with --data, or correct owner and permissions"
        return Finding("data directory", "failing", f"{path}: {error.strerror}", advice)
    found = f"{path} (mode {mode:03o})"
    if mode & 0o007:
        return Finding("data directory", "warning", found, f"everybody on this machine can look in: chmod o-rwx {path}")
    return Finding("data directory", "ok", found)


def free_space(path: Path) -> Finding:
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    found = f"{free / 1e9:.1f} GB free"
    if free < FREE_WANTED_BYTES:
        return Finding("disk space", "warning", found, "make room: a million claims take about 250 MB")
    return Finding("disk space", "ok", found)


def sync_latency(path: Path, syncs: int = SYNCS) -> Finding:
    """How long the disk takes to make a small write durable: the time of every commit."""
    times = []
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-") as file:
            descriptor = file.fileno()
            for _ in range(syncs):
                os.pwrite(descriptor, os.urandom(4096), 0)
                started = time.perf_counter()
                os.fdatasync(descriptor)
                times.append((time.perf_counter() - started) * 1000)
    except OSError as error:
        advice = "make room, or correct the disk: claims cannot be written"
        return Finding("disk commit", "failing", f"{path}: {error.strerror}", advice)
    median, worst = statistics.median(times), max(times)
    found = f"commit takes {median:.2f} ms (median of {syncs}, worst {worst:.1f} ms)"
    if median >= SYNC_BAD_MS:
        advice = "this is the speed of a mechanical disk: put the data directory on an SSD"
        return Finding("disk commit", "failing", found, advice)
    if median >= SYNC_GOOD_MS:
        return Finding("disk commit", "warning", found, "slow for an SSD: look for a busy or remote disk")
    return Finding("disk commit", "ok", found)


def store(name: str, check: Callable[[], str]) -> Finding:
    try:
        found = check()
    except LedgerDamaged as error:
        return Finding(name, "failing", str(error), "nothing is served from it")
    except LedgerSlow as error:
        advice = "look at the disk of its server, and at the way there: each batch of claims takes as long"
        return Finding(name, "warning", str(error), advice)
    except GateAway as error:
        return Finding(name, "failing", str(error), "limits are open and refusals slower while it is away")
    except ReplicaAway as error:
        return Finding(name, "warning", str(error), "the primary is read instead")
    except NotDelivered as error:
        return Finding(name, "warning", str(error), "its events wait in the ledger, for a week at most")
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with it is the finding
        advice = "its campaigns cannot be served" if name.startswith("ledger ") else "nothing can be served without it"
        return Finding(name, "failing", str(error), advice)
    return Finding(name, "ok", found)


def port_free(name: str, address: Address) -> Finding:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            advice = "stop what listens there, or choose another address"
            return Finding(f"port {name}", "failing", f"{address}: {error.strerror}", advice)
    return Finding(f"port {name}", "ok", f"{address} is free")
