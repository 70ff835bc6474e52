"""Which core a worker runs on."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

_SERVER_IO = "tokio-rt-worker"
"""Name of the server's I/O threads."""


def share_one_core(workers: str = "headgate") -> None:
    """Give the threads of this process that run Python one core, which no other of the `workers` of this machine has.

    They take turns with the interpreter lock, so that they never run side by side; on different cores every
    hand-over of the lock would wake another core, and that costs more than what is done with it (figures:
    docs/decisions/0012-python-on-one-core.md).  The server's I/O threads and the processes that this one
    has started keep all cores, and so does a worker that finds every core taken.
    """
    if sys.platform != "linux":
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for core in cores:
        try:
            # A name in Linux's abstract namespace (unix(7)) has one owner, and is free again when that process ends.
            taken.bind(f"\0{workers}-core-{core}")
        except OSError:
            continue
        taken.detach()
        _run_python_on(core)
        return
    taken.close()


def _run_python_on(core: int) -> None:
    for thread in Path("/proc/self/task").iterdir():
        # A thread may end meanwhile, and a sandbox may forbid the call.
        with contextlib.suppress(OSError):
            if (thread / "comm").read_text().strip() != _SERVER_IO:
                os.sched_setaffinity(int(thread.name), {core})
