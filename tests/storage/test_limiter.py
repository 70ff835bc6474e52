"""The limit per address, over workers and restarts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headgate.ports.limiter import WINDOW_S, Limit
from headgate.storage.memory.limiter import PROBES, MappedLimiter

KEY = b"k" * 32
COUNTS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from headgate.ports.limiter import Limit
from headgate.storage.memory.limiter import MappedLimiter

limiter = MappedLimiter(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), clock_s=lambda: 1_000.0)
assert all(limiter.wait_s("addresses", (Limit("192.0.2.1", 200),)) == 0 for _ in range(150))
os.kill(os.getpid(), signal.SIGKILL)
"""


class Counting:
    """A limiter with a limit, and a clock that is set by whoever asks."""

    def __init__(self, directory: Path, per_minute: int, **options: int) -> None:
        self._now_s = 0.0
        self._per_minute = per_minute
        self._limiter = MappedLimiter(directory, KEY, clock_s=lambda: self._now_s, **options)

    def wait_s(self, address: str, now_s: float) -> float:
        self._now_s = now_s
        return self._limiter.wait_s("addresses", (Limit(address, self._per_minute),))


def admitted(limiter: Counting, address: str, times: int, now_s: float) -> int:
    return sum(limiter.wait_s(address, now_s) == 0 for _ in range(times))


def test_exactly_the_limit_and_then_the_time_to_wait(tmp_path: Path) -> None:
    limiter = Counting(tmp_path, 200)
    assert admitted(limiter, "192.0.2.1", 300, 1_000.0) == 200
    assert limiter.wait_s("192.0.2.1", 1_020.0) == WINDOW_S - 20
    assert limiter.wait_s("192.0.2.2", 1_020.0) == 0, "others are not concerned"
    assert admitted(limiter, "192.0.2.1", 300, 1_000.0 + WINDOW_S) == 200


def test_workers_share_one_count(tmp_path: Path) -> None:
    workers = [Counting(tmp_path, 200) for _ in range(4)]
    given_away = sum(workers[number % 4].wait_s("192.0.2.1", 1_000.0 + number / 100) == 0 for number in range(1_000))
    assert given_away == 200
    assert all(worker.wait_s("192.0.2.1", 1_059.0) for worker in workers)
    assert all(not worker.wait_s("192.0.2.1", 1_061.0) for worker in workers), "the minute ends for all at once"


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    # A process of its own, because a table is held as long as the process lives.
    killed = subprocess.run([sys.executable, "-c", COUNTS_AND_DIES, str(tmp_path), KEY.hex()], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    again = Counting(tmp_path, 200)
    assert admitted(again, "192.0.2.1", 300, 1_010.0) == 50
    assert [path.name for path in tmp_path.iterdir()] == ["0.table"], "the table of the dead is taken over"


def test_who_comes_while_another_lives_takes_a_table_of_its_own(tmp_path: Path) -> None:
    limiters = [Counting(tmp_path, 200) for _ in range(2)]
    assert admitted(limiters[0], "192.0.2.1", 150, 1_000.0) == 150
    assert admitted(limiters[1], "192.0.2.1", 300, 1_010.0) == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.table", "1.table"]


def test_a_table_that_is_full_forgets_and_admits(tmp_path: Path) -> None:
    limiter = Counting(tmp_path, 1, slots=PROBES)
    assert all(limiter.wait_s(f"192.0.2.{number}", 1_000.0) == 0 for number in range(100))


def test_times_before_a_reboot_do_not_count(tmp_path: Path) -> None:
    limiter = Counting(tmp_path, 2)
    assert admitted(limiter, "192.0.2.1", 5, 1_000_000.0) == 2
    assert admitted(limiter, "192.0.2.1", 5, 10.0) == 2, "the shared clock begins anew with the machine"


@given(asks=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(0, 5)), max_size=80))
def test_no_order_of_workers_and_times_gives_more(
    asks: list[tuple[int, int, float]],
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        workers = [Counting(Path(name), 5, slots=64) for _ in range(3)]
        now_s, given_away = 1_000.0, dict.fromkeys(range(4), 0)
        for worker, address, pause in asks:
            now_s = min(now_s + pause / 10, 1_000.0 + WINDOW_S - 1)
            given_away[address] += workers[worker].wait_s(f"192.0.2.{address}", now_s) == 0
        assert all(count <= 5 for count in given_away.values())
