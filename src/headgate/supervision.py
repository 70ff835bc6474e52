"""The supervisor: one process that starts the planes, starts again what dies, and takes all down with it.

Each plane is a process of its own, so that a busy claim plane never makes the console slow and a crash
of one leaves the others.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import structlog

STOP_S = 9.0
"""How long a plane may take to finish what it took before it is killed; all is over within ten seconds."""

RESTART_MIN_S = 0.2
RESTART_MAX_S = 5.0
"""Pause before a plane that died is started again; doubled each time it dies young."""

YOUNG_S = 10.0

_log = structlog.get_logger("headgate.supervisor")


class AlreadyRunning(Exception):
    """Another process serves this data directory."""


def lock(path: Path) -> IO[str]:
    """Hold `path` for this process; its end releases it, however that happens.  Raises AlreadyRunning."""
    file = path.open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunning(
            f"{path} is held by process {holder}: this data directory is being served already; "
            "stop that process, or choose another directory with --data"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def is_held(path: Path) -> bool:
    """Whether somebody holds `path`; makes no file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class _Plane:
    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = command
        self._pause_s = RESTART_MIN_S
        self._due = 0.0
        self._started = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def tend(self, now: float) -> None:
        """Start the plane where it is not running and its pause is over."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            young = now - self._started < YOUNG_S
            self._pause_s = min(self._pause_s * 2, RESTART_MAX_S) if young else RESTART_MIN_S
            _log.error("plane_ended", plane=self.name, exit_code=code, again_in_s=self._pause_s)
            self.process = None
            self._due = now + self._pause_s
        if now >= self._due:
            # A group of its own: Ctrl-C in a terminal is for the supervisor, which ends the planes in order.
            self.process = subprocess.Popen(  # noqa: S603 -- our own program
                self._command, stdin=subprocess.DEVNULL, process_group=0
            )
            self._started = now


class Supervisor:
    """`commands`: plane name to command line."""

    def __init__(self, commands: dict[str, Sequence[str]]) -> None:
        self._planes = [_Plane(name, command) for name, command in commands.items()]
        self._stopping = threading.Event()

    def run(self, ready: Callable[[], None] | None = None) -> None:
        """Until SIGTERM or SIGINT; then every plane finishes what it took, within STOP_S."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        if ready is not None:
            threading.Thread(target=ready, name="ready", daemon=True).start()
        while not self._stopping.wait(0.1):
            for plane in self._planes:
                plane.tend(time.monotonic())
        self._stop()

    def _stop(self) -> None:
        running = [plane for plane in self._planes if plane.process is not None]
        for plane in running:
            assert plane.process is not None
            plane.process.terminate()
        deadline = time.monotonic() + STOP_S
        for plane in running:
            assert plane.process is not None
            try:
                plane.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("plane_killed", plane=plane.name, after_s=STOP_S)
                plane.process.kill()
                plane.process.wait()
