"""Requests per subject and minute, counted over all workers of the machine and across their restarts.

Every worker counts in a table of its own, a file mapped into memory that only it writes, and reads the
tables of the others.  So nothing is locked, and two workers that count at the same moment can at most
admit one request more each.  A subject's minute begins with its first request at any worker.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from ...ports.limiter import WINDOW_S, Limit

SLOTS = 131_072
"""Subjects that one worker can count in a minute before it begins to forget; 24 bytes each, 3 MiB."""

PROBES = 8
"""Slots in which a subject may stand; all of them taken by others in this minute is rare below 80,000."""

WORKERS_MAX = 64

_SLOT = struct.Struct("<QdII")
"""Digest of the subject (8 bytes), begin of its minute (s), requests, unused."""


class MappedLimiter:
    """See `headgate.ports.limiter.Limiter`."""

    def __init__(
        self, directory: Path, key: bytes, *, slots: int = SLOTS, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`key` keeps strangers from choosing subjects that share slots.

        `clock_s` never steps, and all workers of the machine share it (seconds).
        """
        self._slots = slots
        self._key = hashlib.blake2b(key, digest_size=32, person=b"hg-limits").digest()
        self._clock_s = clock_s
        self._directory = directory
        self._others: dict[int, mmap.mmap] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number, self._own = self._take_table()
        self._look_in_s = 0.0

    def wait_s(self, group: str, limits: tuple[Limit, ...]) -> float:
        now_s = self._clock_s()
        if now_s >= self._look_in_s:
            # Workers come and go seldom, and a new one's table is empty.
            self._look_in_s = now_s + 1.0
            self._find_others()
        for subject, per_minute in limits:
            wait_s = self._count(f"{group}:{subject}", per_minute, now_s)
            if wait_s:
                return wait_s
        return 0.0

    def _count(self, subject: str, per_minute: int, now_s: float) -> float:
        digest = int.from_bytes(hashlib.blake2b(subject.encode(), digest_size=8, key=self._key).digest(), "little")
        begun, count = now_s, 0
        for table in self._others.values():
            _, theirs, number = self._find(table, digest, now_s)
            if number:
                begun = min(begun, theirs)
                count += number
        position, mine, own = self._find(self._own, digest, now_s)
        if own:
            begun = min(begun, mine)
        if count + own >= per_minute:
            return max(begun + WINDOW_S - now_s, 0.001)
        _SLOT.pack_into(self._own, position, digest, begun, own + 1, 0)
        return 0.0

    def _find(self, table: mmap.mmap, digest: int, now_s: float) -> tuple[int, float, int]:
        """(offset to count at, begin of the minute, requests): the subject's slot, else the best one to take."""
        free, oldest = -1, now_s + WINDOW_S
        for probe in range(PROBES):
            offset = (digest + probe) % self._slots * _SLOT.size
            known, begun, count, _ = _SLOT.unpack_from(table, offset)
            over = not count or not 0 <= now_s - begun < WINDOW_S
            if known == digest and not over:
                return offset, begun, count
            age = -WINDOW_S if over else begun
            if age < oldest:
                free, oldest = offset, age
        return free, now_s, 0

    def _take_table(self) -> tuple[int, mmap.mmap]:
        """The first table that no living worker holds: after a restart its counts go on."""
        for number in range(WORKERS_MAX):
            descriptor = os.open(self._directory / f"{number}.table", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            # Real blocks, not a hole: writing to a hole of a full disk would end the process.
            os.posix_fallocate(descriptor, 0, self._slots * _SLOT.size)
            # The descriptor stays open, and with it the lock, as long as the process lives.
            return number, mmap.mmap(descriptor, self._slots * _SLOT.size)
        raise OSError(f"all {WORKERS_MAX} tables in {self._directory} are taken")

    def _find_others(self) -> None:
        for path in self._directory.glob("*.table"):
            number = int(path.stem)
            if number == self._number or number in self._others:
                continue
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size == self._slots * _SLOT.size:
                    self._others[number] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
