from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headgate.services import metrics_files
from headgate.services.metrics_files import METRICS_DIR, Snapshot, collect, publish
from headgate.storage.memory.telemetry import Counters

CHILD = """
    import os, sys
    from pathlib import Path
    from headgate.services.metrics_files import publish
    from headgate.storage.memory.telemetry import Counters

    counters = Counters("participant")
    for line in sys.stdin:
        for _ in range(int(line)):
            counters.claim("masks", "confirmed", 0.002)
        counters.batch(int(line), 0.004)
        counters.gauge("headgate_inflight", 7)
        publish(Path(sys.argv[1]), f"participant-{os.getpid()}", counters.snapshot())
        print("published", flush=True)
"""


class Worker:
    """A process that counts so many claims, and publishes, whenever it is told to."""

    def __init__(self, run_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD), str(run_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def count(self, claims: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{claims}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "published\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    running = Worker(tmp_path)
    yield running
    running.kill()


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Worker]:
    running = Worker(tmp_path)
    yield running
    running.kill()


def files(run_dir: Path) -> list[str]:
    """Names of the files of processes."""
    return sorted(path.name for path in (run_dir / METRICS_DIR).glob("participant-*"))


def only(run_dir: Path) -> Snapshot:
    (snapshot,) = collect(run_dir)
    return snapshot


def claims(run_dir: Path) -> int:
    return sum(count for snapshot in collect(run_dir) for _, _, count in snapshot.claims)


def write(run_dir: Path, name: str, pid: int, started: str, counted: dict[str, Any]) -> None:
    (run_dir / METRICS_DIR).mkdir(parents=True, exist_ok=True)
    content = json.dumps({"pid": pid, "started": started, "counted": counted})
    (run_dir / METRICS_DIR / f"{name}.json").write_text(content)


def leave_behind(run_dir: Path, claims: int) -> None:
    """The file of a process that has died: it had our id, and another start."""
    counted = {"plane": "participant", "claims": [["masks", "confirmed", claims]], "gauges": {"headgate_inflight": 9}}
    write(run_dir, f"participant-{os.getpid()}.1", os.getpid(), "1", counted)


def test_nothing_was_counted_where_nobody_published(tmp_path: Path) -> None:
    assert collect(tmp_path) == []


def test_a_process_is_counted_as_it_counts(tmp_path: Path) -> None:
    counters = Counters("participant")
    counters.request("state", "ok", 0.002)
    counters.claim("masks", "sold_out", 3.0)
    counters.claim("masks", "confirmed", 0.002)
    counters.batch(3, 0.5)
    counters.gauge("headgate_inflight", 7)
    publish(tmp_path, f"participant-{os.getpid()}", counters.snapshot())
    assert only(tmp_path) == msgspec.convert(counters.snapshot(), Snapshot)


def test_living_processes_are_added_up(tmp_path: Path, worker: Worker, second: Worker) -> None:
    worker.count(2)
    worker.count(3)
    second.count(10)
    total = only(tmp_path)
    assert total.requests == [("claims", "confirmed", 15)]
    assert total.claims == [("masks", "confirmed", 15)]
    assert total.gauges == {"headgate_inflight": 14}
    counts, value = total.histograms["headgate_batch_size"]
    assert (sum(counts), value) == (3, 15.0)


def test_counts_outlive_their_process_and_gauges_do_not(tmp_path: Path, worker: Worker, second: Worker) -> None:
    worker.count(5)
    second.count(7)
    assert claims(tmp_path) == 12
    worker.kill()
    for _ in range(3):
        total = only(tmp_path)
        assert total.claims == [("masks", "confirmed", 12)]
        assert total.gauges == {"headgate_inflight": 7}
        assert total.histograms["headgate_batch_size"][1] == 12.0
        assert files(tmp_path) == [name for name in files(tmp_path) if f"-{second.process.pid}." in name]
    second.count(1)
    assert claims(tmp_path) == 13


def test_counts_never_fall_over_many_restarts(tmp_path: Path) -> None:
    seen = [0]
    for life in range(1, 4):
        worker = Worker(tmp_path)
        worker.count(life)
        seen.append(claims(tmp_path))
        worker.kill()
        seen.append(claims(tmp_path))
    assert seen == [0, 1, 1, 3, 3, 6, 6]
    assert files(tmp_path) == []


def test_what_was_published_just_before_death_is_not_lost(
    tmp_path: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.count(5)
    alive = metrics_files._alive

    def dies_after_being_read(pid: int, started: str) -> bool:
        if worker.process.poll() is None:
            worker.count(2)
            worker.kill()
        return alive(pid, started)

    monkeypatch.setattr(metrics_files, "_alive", dies_after_being_read)
    assert claims(tmp_path) == 7
    assert claims(tmp_path) == 7


def test_a_crash_between_total_and_removal_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(tmp_path, 5)

    def crash(_path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, f"no removal, missing_ok={missing_ok}")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", crash)
        with pytest.raises(OSError, match="no removal"):
            collect(tmp_path)
    assert len(files(tmp_path)) == 1
    assert [claims(tmp_path) for _ in range(3)] == [5, 5, 5]
    assert files(tmp_path) == []
    retired = json.loads((tmp_path / METRICS_DIR / "retired.json").read_text())
    assert retired["folded"] == []


def test_a_crash_before_the_total_is_written_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_behind(tmp_path, 5)

    def crash(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    with monkeypatch.context() as patched:
        patched.setattr(metrics_files, "_replace", crash)
        with pytest.raises(OSError, match="disk full"):
            collect(tmp_path)
    assert claims(tmp_path) == 5


def test_a_later_process_with_the_same_id_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"participant-{os.getpid()}"
    with monkeypatch.context() as earlier:
        earlier.setattr(metrics_files, "_started", lambda _pid: "1")
        counted = {"plane": "participant", "claims": [["masks", "confirmed", 4]], "gauges": {"headgate_inflight": 9}}
        publish(tmp_path, name, counted)
    counted = {"plane": "participant", "claims": [["masks", "confirmed", 1]], "gauges": {"headgate_inflight": 2}}
    publish(tmp_path, name, counted)
    assert len(files(tmp_path)) == 2
    total = only(tmp_path)
    assert total.claims == [("masks", "confirmed", 5)]
    assert total.gauges == {"headgate_inflight": 2}
    assert len(files(tmp_path)) == 1


def test_a_process_that_nobody_has_waited_for_is_dead(tmp_path: Path, worker: Worker) -> None:
    worker.count(5)
    os.kill(worker.process.pid, signal.SIGKILL)
    # Waits until it is dead and leaves it unreaped.
    os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)
    assert only(tmp_path).gauges == {}
    assert claims(tmp_path) == 5


def test_without_proc_a_process_is_known_by_its_id_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_files, "_started", lambda _pid: "")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write(tmp_path, "participant-a", gone.pid, "", {"plane": "participant", "gauges": {"headgate_inflight": 1}})
    publish(tmp_path, "participant-b", {"plane": "participant", "gauges": {"headgate_inflight": 2}})
    assert only(tmp_path).gauges == {"headgate_inflight": 2}


def test_planes_are_kept_apart(tmp_path: Path) -> None:
    leave_behind(tmp_path, 1)
    publish(tmp_path, f"keeper-{os.getpid()}", Counters("keeper").snapshot())
    assert sorted(snapshot.plane for snapshot in collect(tmp_path)) == ["keeper", "participant"]


def test_counts_of_other_buckets_are_not_mixed_in(tmp_path: Path) -> None:
    old = {"plane": "participant", "histograms": {"headgate_batch_size": [[1, 2], 9.0]}}
    write(tmp_path, "participant-1.1", os.getpid(), "1", old)
    collect(tmp_path)
    counters = Counters("participant")
    counters.batch(4, 0.1)
    publish(tmp_path, "participant-2", counters.snapshot())
    counts, value = only(tmp_path).histograms["headgate_batch_size"]
    assert (sum(counts), value) == (1, 4.0)


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": "x"}', b"\xff", b"[]"])
def test_a_damaged_file_disturbs_nobody(tmp_path: Path, content: bytes) -> None:
    publish(tmp_path, "participant-1", {"plane": "participant", "claims": [["masks", "confirmed", 3]]})
    for name in ("participant-9.9.json", "retired.json"):
        (tmp_path / METRICS_DIR / name).write_bytes(content)
    assert claims(tmp_path) == 3


@pytest.fixture
def fresh_log() -> Iterator[None]:
    metrics_files._say_once.cache_clear()
    yield
    metrics_files._say_once.cache_clear()


@pytest.mark.usefixtures("fresh_log")
def test_a_disk_that_fails_is_said_once_and_fails_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    for _ in range(3):
        publish(blocked, "participant-1", Counters("participant").snapshot())
    assert capsys.readouterr().out.count("metrics_not_written") == 1


@pytest.mark.usefixtures("fresh_log")
def test_a_full_disk_leaves_the_older_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"plane": "participant", "claims": [["masks", "confirmed", 1]]}
    publish(tmp_path, "participant-1", counted)

    def full(_path: Path, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        publish(tmp_path, "participant-1", {**counted, "claims": [["masks", "confirmed", 2]]})
    assert claims(tmp_path) == 1
    publish(tmp_path, "participant-1", {**counted, "claims": [["masks", "confirmed", 3]]})
    assert claims(tmp_path) == 3
