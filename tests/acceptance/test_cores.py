"""Which cores the workers of a machine get for their Python, seen on real processes.  Needs Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

WORKER = """
import os, sys, threading
from pathlib import Path
from headgate.bootstrap.cores import share_one_core

end = threading.Event()
named = threading.Event()

def serve_io():
    Path("/proc/thread-self/comm").write_text("tokio-rt-worker")
    named.set()
    end.wait()

threads = [threading.Thread(target=serve_io), threading.Thread(target=end.wait)]
for thread in threads:
    thread.start()
named.wait()
share_one_core(sys.argv[1])
for number in (0, threads[1].native_id, threads[0].native_id):
    print(*sorted(os.sched_getaffinity(number)), flush=True)
sys.stdin.read()
end.set()
"""


@contextmanager
def worker(workers: str) -> Iterator[list[set[int]]]:
    """Cores of a worker's main thread, of another of its Python threads, and of its I/O thread."""
    command = [sys.executable, "-c", WORKER, workers]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield [{int(core) for core in process.stdout.readline().split()} for _ in range(3)]
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def workers() -> str:
    """A name that the servers of other tests do not go by."""
    return f"test-{os.getpid()}"


def test_each_worker_has_a_core_for_its_python_and_one_too_many_stays_free(workers: str) -> None:
    cores = os.sched_getaffinity(0)
    free = set(cores) if len(cores) > 1 else set()
    with ExitStack() as stack:
        for _ in range(len(free)):
            main, python, io = stack.enter_context(worker(workers))
            assert len(main) == 1
            assert main <= free, "the core has another worker"
            assert python == main
            assert io == cores
            free -= main
        assert stack.enter_context(worker(workers)) == [cores, cores, cores]


def test_a_core_is_free_again_when_its_worker_has_ended(workers: str) -> None:
    found = []
    for _ in range(len(os.sched_getaffinity(0)) + 1):
        with worker(workers) as (main, _, _):
            found.append(main)
    assert found == found[:1] * len(found)
