"""Counts of all processes, handed over as small files, so that a scrape never disturbs the process that counts.

Every process replaces its own file once a second.  When it has died, its last counts are added to a
total, because a sum over living processes would fall at every restart, and Prometheus would take the
fall for a reset of everything.

Theory of operation.  A file is folded in three steps: the total is written with the file's name in
`folded`, the file is removed, and the next pass forgets the name.  A crash between the steps leaves a
name in `folded` whose file is still there: such a file is not counted again, only removed.  Readers
and folders exclude each other with a lock on `.lock`, so nobody reads between two of the steps.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

METRICS_DIR = "metrics"
_RETIRED = "retired.json"
_LOCK = ".lock"

_T = TypeVar("_T")
_log = structlog.get_logger("headgate.metrics")


class Snapshot(msgspec.Struct):
    """What one process counted, or all processes of one plane together."""

    plane: str
    requests: list[tuple[str, str, int]] = []
    """(route, outcome, count)"""
    claims: list[tuple[str, str, int]] = []
    """(campaign, outcome, count)"""
    histograms: dict[str, tuple[list[int], float]] = {}
    """name: (observations in each bucket, not cumulated and with the overflow last; sum of the values)"""
    gauges: dict[str, float] = {}
    replicas: dict[str, int] = {}
    """Processes that read from it, by the replica's number; a gauge like the others."""
    counts: dict[str, int] = {}
    """Counters without labels, by name."""


class _Published(msgspec.Struct):
    """One process's file; `started` tells it from a later process with the same id."""

    pid: int
    started: str
    counted: Snapshot


LARGEST = frozenset({"headgate_queue_age_seconds"})
"""Gauges of which the largest counts, and not their sum."""


class _Retired(msgspec.Struct):
    folded: list[str] = []
    planes: dict[str, Snapshot] = {}


def publish(run_dir: Path, name: str, snapshot: dict[str, Any]) -> None:
    """Replace this process's file with what it has counted so far; `name` is `PLANE-PID`, or longer for one of several.

    Never raises for a disk that fails: the counts are then old, which is logged once for each reason.
    """
    directory = run_dir / METRICS_DIR
    pid = os.getpid()
    started = _started(pid)
    content = msgspec.json.encode({"pid": pid, "started": started, "counted": snapshot})
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # The start time in the name keeps a later process with the same id from replacing counts not yet folded.
        _replace(directory / f"{name}.{started}.json", content)
    except OSError as error:
        _say_once("metrics_not_written", str(directory), str(error))


def collect(run_dir: Path) -> list[Snapshot]:
    """One snapshot for each plane: counts of its living and dead processes, gauges of the living ones added up.

    Raises OSError where the directory cannot be read or written.
    """
    directory = run_dir / METRICS_DIR
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        planes, living = _fold_dead(directory)
    for snapshot in living:
        _add(planes, snapshot, gauges=True)
    return list(planes.values())


def _fold_dead(directory: Path) -> tuple[dict[str, Snapshot], list[Snapshot]]:
    """The totals of the dead after folding those that died since, and what each living process counted."""
    retired = _read(directory / _RETIRED, _Retired) or _Retired()
    living: list[Snapshot] = []
    dead: list[Path] = []
    for path in sorted(directory.glob("[!.]*.json")):
        if path.name == _RETIRED:
            continue
        if path.name in retired.folded:
            dead.append(path)
            continue
        published = _read(path, _Published)
        if published is not None and not _alive(published.pid, published.started):
            # What it published between the reading and its death is in the file now; after its death nothing comes.
            published = _read(path, _Published)
            dead.append(path)
            if published is not None:
                _add(retired.planes, published.counted, gauges=False)
        elif published is not None:
            living.append(published.counted)
    if dead or retired.folded:
        retired.folded = [path.name for path in dead]
        _replace(directory / _RETIRED, msgspec.json.encode(retired))
    for path in dead:
        path.unlink(missing_ok=True)
        _temporary(path).unlink(missing_ok=True)
    return retired.planes, living


def _add(planes: dict[str, Snapshot], counted: Snapshot, *, gauges: bool) -> None:
    """Add `counted` to the total of its plane, in place."""
    total = planes.setdefault(counted.plane, Snapshot(counted.plane, [], [], {}, {}, {}, {}))
    total.requests = _added(total.requests, counted.requests)
    total.claims = _added(total.claims, counted.claims)
    for name, (counts, value) in counted.histograms.items():
        before, sum_before = total.histograms.get(name, ([0] * len(counts), 0.0))
        # A program with other buckets wrote the older counts; they cannot be added to these.
        if len(before) != len(counts):
            before, sum_before = [0] * len(counts), 0.0
        total.histograms[name] = ([a + b for a, b in zip(before, counts, strict=True)], sum_before + value)
    for name, count in counted.counts.items():
        total.counts[name] = total.counts.get(name, 0) + count
    if gauges:
        for name, value in counted.gauges.items():
            before_value = total.gauges.get(name, 0.0)
            total.gauges[name] = max(before_value, value) if name in LARGEST else before_value + value
        for number, readers in counted.replicas.items():
            total.replicas[number] = total.replicas.get(number, 0) + readers


def _added(first: list[tuple[str, str, int]], second: list[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    sums: Counter[tuple[str, str]] = Counter()
    for left, right, count in [*first, *second]:
        sums[left, right] += count
    return [(left, right, count) for (left, right), count in sums.items()]


def _alive(pid: int, started: str) -> bool:
    if started:
        return _started(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """When a process began, in clock ticks after boot; empty where it has ended, or where there is no /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # proc_pid_stat(5): the command in parentheses may hold anything, so fields are counted after it.
    fields = text[text.rindex(")") + 2 :].split()
    state, began = fields[0], fields[19]
    return "" if state in "ZX" else began


def _read(path: Path, kind: type[_T]) -> _T | None:
    """What a file holds; None, logged once, where it holds something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        _say_once("metrics_not_readable", str(path), str(error))
        return None


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _replace(path: Path, content: bytes) -> None:
    """A reader sees the whole file or the one before; not synced, since counts need not survive a power cut."""
    temporary = _temporary(path)
    temporary.write_bytes(content)
    temporary.replace(path)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@lru_cache(maxsize=64)
def _say_once(event: str, path: str, error: str) -> None:
    _log.warning(event, path=path, error=error)
