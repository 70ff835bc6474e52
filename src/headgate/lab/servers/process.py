"""A server process of ours: started, killed, frozen, started again on what is on disk."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

READY_S = 60.0
STOP_S = 20.0

_PORTS = range(12_000, 30_000)
"""Below those that the kernel gives to clients, one of which could take a port that we have just looked at."""


class NoServer(Exception):
    """A program is not there; the message says which, and how to get it."""


def free_port() -> int:
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def unprivileged() -> dict[str, Any]:
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
    """To its end, as the server's user; raises RuntimeError with what it said."""
    ran = subprocess.run(  # noqa: S603 -- programs that were looked up, with arguments of ours
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=READY_S,
        stdin=subprocess.DEVNULL, **unprivileged(), **options,
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
        answers: Callable[[str], bool],
        user: Mapping[str, Any] | None = None,
        ends_by: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`environment` is looked at when it is started, `answers` says whether the server at a URL is ready, and
        `user` goes to Popen.
        """
        self._ends_by = ends_by
        self._answers = answers
        self._user = unprivileged() if user is None else user
        self._command = [str(word) for word in command]
        self._log = log
        self._environment = environment
        self.url = url
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 -- a program that was looked up, with arguments of ours
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, **self._user
            )

    def wait(self) -> None:
        deadline = time.monotonic() + READY_S
        while not self.ready():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} is not ready:\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def ready(self) -> bool:
        return self._answers(self.url)

    def ended(self) -> bool:
        """Whether it was started, and runs no more."""
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """kill -9 of the process and of those that it started."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def signal(self, number: signal.Signals) -> list[int]:
        """Send it to the process and to those that it started; who they are."""
        assert self.process is not None
        family = [self.process.pid, *descendants(self.process.pid)]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return family

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def again(self) -> None:
        """Start once more on what is on disk, and wait until it answers."""
        self.start()
        self.wait()

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(self._ends_by)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def descendants(pid: int) -> list[int]:
    """The processes that `pid` started, and theirs."""
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            found += [int(child), *descendants(int(child))]
    return found
