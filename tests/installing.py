"""What tests install where the machine lets them; several test processes share it, and one installs at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALL_S = 600
TOOLS = Path(__file__).resolve().parents[1] / ".tools"


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def debian_package(name: str, present: Callable[[], object]) -> None:
    """Install a package where we are root on Debian and `present` finds nothing; whether it worked, `present` tells."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with one_at_a_time("apt"):
        if present():
            return
        for command in (["update"], ["install", "--yes", "--no-install-recommends", name]):
            subprocess.run(
                ["apt-get", "--quiet", *command], check=False, timeout=INSTALL_S, capture_output=True, env=environment,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
