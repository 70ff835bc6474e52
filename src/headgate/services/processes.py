"""What a process asks of the operating system about itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process when its parent ends, however that happens.

    Without it, planes whose supervisor was killed would go on listening beside those of the next one.
    `parent` is the process id that the parent has told: whoever asks only here may be told of the one
    that took its place.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def schedule_as_batch() -> None:
    """Let the threads of this process and of those it starts wait for their turn instead of interrupting each other.

    A claim passes through five threads on its way.  Where each of them interrupts the one before as soon
    as it has something to do, they hand over one claim at a time and a core spends its time on switching;
    with Linux's batch class (sched(7)) they hand over many.  Other systems go on as they are, and so does
    a sandbox that forbids it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
