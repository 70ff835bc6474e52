"""The supervisor with small child processes: starting again what dies, and taking all down with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headgate.supervision import RESTART_MAX_S, RESTART_MIN_S, YOUNG_S, AlreadyRunning, _Plane, is_held, lock
from tests.acceptance.product import eventually, living

PATIENCE_S = 20

# Each writes its process id into the file that it is given, once it is ready for signals.
POLITE = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
with open(sys.argv[1], "w") as file: file.write(f"{os.getpid()}\\n")
signal.sigwait({signal.SIGTERM})
with open(sys.argv[1], "a") as file: file.write("finished\\n")
"""
STUBBORN = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "w") as file: file.write(f"{os.getpid()}\\n")
while True: signal.pause()
"""
SUPERVISOR = """
import json, sys
from headgate import supervision
supervision.STOP_S = float(sys.argv[1])
supervision.Supervisor(json.loads(sys.argv[2])).run()
"""
HOLDER = """
import sys
from pathlib import Path
from headgate.supervision import lock
held = lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def quickly_over(code: int = 3) -> _Plane:
    return _Plane("claims", [sys.executable, "-S", "-c", f"raise SystemExit({code})"])


def run_once(plane: _Plane, now: float) -> None:
    """Let the plane be started at `now`, and wait for the process to end by itself."""
    plane.tend(now)
    assert plane.process is not None, "it was not started"
    plane.process.wait(PATIENCE_S)


def test_a_plane_that_dies_young_again_and_again_is_started_after_growing_pauses() -> None:
    plane, now, pauses = quickly_over(), 100.0, []
    run_once(plane, now)
    for _ in range(8):
        now += 1.0
        with capture_logs() as logs:
            plane.tend(now)
        assert plane.process is None, "it was started again at once"
        (log,) = logs
        assert (log["event"], log["plane"], log["exit_code"]) == ("plane_ended", "claims", 3)
        pauses.append(log["again_in_s"])
        plane.tend(now + log["again_in_s"] - 0.001)
        assert plane.process is None, "its pause was cut short"
        now += log["again_in_s"] + 0.001
        run_once(plane, now)
    assert pauses[0] == 2 * RESTART_MIN_S
    assert all(after == min(2 * before, RESTART_MAX_S) for before, after in pairwise(pauses))
    assert pauses[-1] == RESTART_MAX_S


def test_a_plane_that_has_lived_is_started_again_almost_at_once() -> None:
    plane, now = quickly_over(), 100.0
    for _ in range(4):
        run_once(plane, now)
        now += 1.0
        plane.tend(now)
        now += RESTART_MAX_S
    run_once(plane, now)
    now += YOUNG_S
    plane.tend(now)
    plane.tend(now + RESTART_MIN_S - 0.001)
    assert plane.process is None
    run_once(plane, now + RESTART_MIN_S + 0.001)


def test_a_plane_that_runs_is_left_alone(tmp_path: Path) -> None:
    plane = _Plane("claims", [sys.executable, "-S", "-c", POLITE, str(tmp_path / "said")])
    plane.tend(100.0)
    process = plane.process
    assert process is not None
    try:
        for now in (100.1, 200.0, 10_000.0):
            plane.tend(now)
        assert plane.process is process
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(PATIENCE_S)


class Supervised:
    """A supervisor in a process of its own, with planes that say in files what they did."""

    def __init__(self, directory: Path, stop_s: float, **programs: str) -> None:
        self._files = {name: directory / name for name in programs}
        commands = {name: [sys.executable, "-S", "-c", text, str(self._files[name])] for name, text in programs.items()}
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISOR, str(stop_s), json.dumps(commands)], stdout=log, stderr=log
            )
        self._known: set[int] = set()

    def said(self, name: str) -> list[str]:
        return self._files[name].read_text().splitlines() if self._files[name].exists() else []

    def pid(self, name: str, *, other_than: int = 0) -> int:
        """The process of a plane, waited for until it is ready for signals."""

        def ready() -> int | None:
            lines = self.said(name)
            return int(lines[0]) if lines and int(lines[0]) != other_than else None

        found = eventually(f"{name} runs", ready, within_s=PATIENCE_S)
        self._known.add(found)
        return found

    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        """Leave nothing behind, whatever has gone wrong."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S / 4)
        for pid in {self.process.pid, *self._known}:
            if living([pid]):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


@pytest.fixture
def ending() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_planes_finish_before_the_supervisor_ends(
    tmp_path: Path, ending: ExitStack, number: signal.Signals
) -> None:
    house = Supervised(tmp_path, PATIENCE_S, claims=POLITE, console=POLITE)
    ending.callback(house.end)
    pids = [house.pid("claims"), house.pid("console")]
    house.process.send_signal(number)
    assert house.process.wait(PATIENCE_S) == 0, house.log()
    assert [house.said(name) for name in ("claims", "console")] == [[str(pid), "finished"] for pid in pids]
    assert living(pids) == []


def test_a_plane_that_does_not_end_is_killed_and_keeps_no_other_from_finishing(
    tmp_path: Path, ending: ExitStack
) -> None:
    house = Supervised(tmp_path, 0.5, stubborn=STUBBORN, console=POLITE)
    ending.callback(house.end)
    pids = [house.pid("stubborn"), house.pid("console")]
    house.process.terminate()
    assert house.process.wait(PATIENCE_S) == 0, house.log()
    assert house.said("console")[1:] == ["finished"]
    assert living(pids) == []
    assert "plane_killed" in house.log()


def test_a_plane_that_was_killed_comes_back_and_the_others_stay(tmp_path: Path, ending: ExitStack) -> None:
    house = Supervised(tmp_path, PATIENCE_S, claims=POLITE, console=POLITE)
    ending.callback(house.end)
    killed, other = house.pid("claims"), house.pid("console")
    os.kill(killed, signal.SIGKILL)
    again = house.pid("claims", other_than=killed)
    assert living([again, other]) == [again, other]
    house.process.terminate()
    assert house.process.wait(PATIENCE_S) == 0, house.log()
    assert house.said("claims") == [str(again), "finished"]


def test_a_plane_is_in_a_group_of_its_own(tmp_path: Path, ending: ExitStack) -> None:
    house = Supervised(tmp_path, PATIENCE_S, claims=POLITE)
    ending.callback(house.end)
    pid = house.pid("claims")
    assert os.getpgid(pid) == pid, "Ctrl-C in a terminal would end it before the supervisor says so"


def test_a_data_directory_is_served_once(tmp_path: Path) -> None:
    path = tmp_path / "serve.lock"
    assert not is_held(path)
    assert not path.exists(), "looking made a file"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
        with pytest.raises(AlreadyRunning, match=rf"serve\.lock is held by process {holder.pid}\b"):
            lock(path)
        holder.kill()
        holder.wait(PATIENCE_S)
        assert not is_held(path)
        with lock(path):
            assert path.read_text() == f"{os.getpid()}\n"
            assert is_held(path)
    assert not is_held(path)
