"""Replicas that are read from while they are good enough; see `headgate.ports.replicas`.

Theory of operation.  Each replica has a thread that asks it once a second how far it has come, and once in a
while where it is away; so nobody who reads waits for a replica that has died or hangs.  Who reads takes one
that was found good a moment ago.  That alone would not do: the replica may have stopped following since.  So
each transaction there begins with the same question, and ends with it where the answer is bad; the reader then
goes to the primary, and the replica is left out.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic

import sqlalchemy as sa

from ...ports.replicas import ReplicaAway, T, V
from .replica_connections import open_replica
from .standing import Primary, Standing, standing

CHECK_S = 1.0
VALID_S = 2 * CHECK_S
"""A replica whose last good check is older is not read from: its check is taking too long."""

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 8.0
"""A replica that came back is found within this time and that of a connection, so within ten seconds.  One that fails
again within this time of coming back is left alone longer with each time, so that nobody goes to and fro."""

START_S = 3.0
"""So long after its start a program says nothing about a replica that is not there yet: a keeper that was started at
the same moment has to renew its lease first."""

END_S = 3.0
"""What the threads may take to end, most of it for a connection under way."""

Changed = Callable[[int, str | None], None]
"""Called with the number of a replica, and why it is left out, or None where it is read from again."""


class _Replica(Generic[V]):
    """One of them; used by its own thread and by those who read."""

    def __init__(self, number: int, engine: sa.Engine, reader: V, changed: Changed, timer: Callable[[], float]) -> None:
        self.number = number
        self.reader = reader
        self._engine = engine
        self._changed = changed
        self._timer = timer
        self._deciding = threading.Lock()
        self._made_s = timer()
        # Nothing has been said about it yet.
        self._in_use: bool | None = None
        self._since_s = 0.0
        self._checked_s = 0.0
        self._backoff_s = BACKOFF_MIN_S
        self._away_until_s = 0.0

    def usable(self) -> bool:
        return bool(self._in_use) and self._timer() - self._checked_s < VALID_S

    def check(self, ask_primary: Callable[[], object]) -> float:
        """Ask it how it stands; how long (s) to wait before doing so again."""
        wait_s = self._away_until_s - self._timer()
        if not self._in_use and wait_s > 0:
            return wait_s
        began_s = self._timer()
        try:
            ask_primary()
            with self._engine.begin():
                pass
        except Exception as error:  # noqa: BLE001 -- whatever it is, a thread that ends would never look again
            return self.leave_out(error)
        with self._deciding:
            # A reader may have found it wanting meanwhile.
            if self._timer() < self._away_until_s:
                return CHECK_S
            self._checked_s = began_s
            if not self._in_use:
                self._in_use, self._since_s = True, self._timer()
                self._changed(self.number, None)
        return CHECK_S

    def leave_out(self, error: Exception) -> float:
        """It failed; how long (s) it is left alone."""
        with self._deciding:
            now_s = self._timer()
            if self._in_use and now_s - self._since_s > BACKOFF_MAX_S:
                self._backoff_s = BACKOFF_MIN_S
            # At least half of it, and the rest by chance, so that many processes don't come together.
            backoff_s = self._backoff_s * (0.5 + secrets.randbelow(512) / 1024)
            self._backoff_s = min(2 * self._backoff_s, BACKOFF_MAX_S)
            self._away_until_s = now_s + backoff_s
            unknown = self._in_use is None and now_s - self._made_s < START_S
            if not unknown and self._in_use is not False:
                self._in_use = False
                self._changed(self.number, str(error))
        # Others may be cut off as well, and would be found so one by one when it is back.
        self._engine.dispose()
        return backoff_s

    def close(self) -> None:
        self._engine.dispose()


class Replicas(Generic[V]):
    """See `headgate.ports.replicas.Sources`.  `primary` and the engine behind it belong to whoever made them."""

    def __init__(
        self,
        primary: V,
        held_against: Primary,
        must_be: Callable[[Standing], None],
        changed: Changed,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`must_be` raises ReplicaAway for a standing that will not do; `timer` gives seconds and never steps."""
        self.primary = primary
        self._held_against = held_against
        self._must_be = must_be
        self._changed = changed
        self._timer = timer
        self._replicas: list[_Replica[V]] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._some = threading.Event()

    def add(self, url: sa.URL, patience_s: float, read_with: Callable[[sa.Engine], V]) -> None:
        """`patience_s` is how long a statement there may take, and a reader wait for a replica that hangs."""
        engine = open_replica(url, patience_s, self._admit)
        self._replicas.append(_Replica(len(self._replicas) + 1, engine, read_with(engine), self._changed, self._timer))

    def start(self) -> None:
        """Look at all of them, from now on until `close`."""
        for replica in self._replicas:
            thread = threading.Thread(
                target=self._watch, args=(replica,), name=f"replica-{replica.number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Until there is one to read from, or so long; whether there is one."""
        return self._some.wait(seconds)

    def read(self, call: Callable[[V], T]) -> T:
        replica = self._choose()
        if replica is not None:
            try:
                return call(replica.reader)
            except ReplicaAway as error:
                replica.leave_out(error)
            except (LookupError, sa.exc.TimeoutError):
                # What it does not know may be new; where its connections are all taken, nothing is wrong with it.
                pass
        return call(self.primary)

    def in_use(self) -> Mapping[int, bool]:
        return {replica.number: replica.usable() for replica in self._replicas}

    def close(self) -> None:
        self._stopping.set()
        deadline = time.monotonic() + END_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for replica in self._replicas:
            replica.close()

    def _choose(self) -> _Replica[V] | None:
        """The same one as long as it is usable, so that a reader goes forward; processes begin with different ones."""
        first = os.getpid() % len(self._replicas)
        for replica in self._replicas[first:] + self._replicas[:first]:
            if replica.usable():
                return replica
        return None

    def _admit(self, connection: sa.Connection) -> None:
        self._must_be(standing(connection, self._held_against.renewed))

    def _watch(self, replica: _Replica[V]) -> None:
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            wait_s = replica.check(self._held_against.ask)
            if replica.usable():
                self._some.set()
