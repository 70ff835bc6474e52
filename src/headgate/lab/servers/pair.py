"""A PostgreSQL primary with a synchronous standby, and whoever lets them take each other's place.

This plays the part of an operator's failover manager, by its rules: the primary waits for the standby at every
commit while there is one, and the standby takes over only then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import sqlalchemy as sa

from .apart import Network
from .postgresql import begin_postgresql, copy, initialise
from .process import READY_S, Server, free_port

STANDBY = "standby"
"""The name under which the synchronous standby reports to the primary."""
REPLICA = "replica"
CATCH_UP_S = 5.0

_SETTINGS = {
    # A standby that was away finds what it missed.
    "wal_keep_size": "1GB",
    "wal_retrieve_retry_interval": "500ms",
    "max_wal_senders": "10",
    "hot_standby": "on",
}


class Pair:
    """`url` leads to whichever takes writes; it stays the same."""

    def __init__(self, directory: Path, network: Network | None = None) -> None:
        """A replica in `network` can reach it too."""
        self._homes = [directory / "postgresql-a", directory / "postgresql-b"]
        self._ports = [str(free_port()) for _ in self._homes]
        self._directory = directory
        self._network = network
        self._first = 0
        self.primary = self._server(0)
        self.standby: Server | None = None
        self.guarded = False
        """Whether the primary waits for the standby, so that it may take over."""
        self.turn = threading.Lock()
        """Held by whoever takes one of them away, until both are back."""
        hosts = "&".join(f"host=127.0.0.1:{port}" for port in self._ports)
        self.url = f"postgresql://headgate@/postgres?{hosts}&target_session_attrs=read-write"

    def _server(self, slot: int) -> Server:
        leader = self._ports[1 - slot]
        follow = f"host=127.0.0.1 port={leader} user=headgate application_name={STANDBY}"
        log = self._directory / f"{self._homes[slot].name}.log"
        settings = {**_SETTINGS, "port": self._ports[slot], "primary_conninfo": follow}
        address = "127.0.0.1" if self._network is None else f"127.0.0.1,{self._network.ours}"
        server = begin_postgresql(self._homes[slot], log, address, **settings)
        server.url = f"postgresql+psycopg://headgate@127.0.0.1:{self._ports[slot]}/postgres"
        return server

    @property
    def ports(self) -> Sequence[str]:
        return self._ports

    @property
    def port(self) -> str:
        """Of the primary."""
        return self._ports[self._first]

    def begin(self) -> None:
        initialise(self._homes[0], "" if self._network is None else self._network.subnet)
        self.primary.again()
        self.attach()

    def attach(self) -> None:
        """Make a standby from the primary and let the primary wait for it."""
        slot = 1 - self._first
        copy(self._homes[slot], self.port)
        self.standby = self._server(slot)
        self.standby.again()
        self.guard()

    def guard(self) -> None:
        """Let the primary wait for the standby at every commit."""
        self._until("streaming", lambda state, _: state == "streaming")
        self._say(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'", "SELECT pg_reload_conf()")
        self._until("synchronous", lambda _, sync: sync == "sync")
        self.guarded = True

    def unguard(self) -> None:
        """The standby is gone: let the primary go on alone."""
        self.guarded = False
        self._say("ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")

    def promote(self) -> None:
        """The primary is gone: let the standby take over, which has everything that was confirmed."""
        assert self.guarded, "a standby that the primary did not wait for may lack what was confirmed"
        assert self.standby is not None, "it is guarded by a standby"
        self._first = 1 - self._first
        self.primary, self.standby, self.guarded = self.standby, None, False
        self._say("SELECT pg_promote(true, 30)")

    def stop(self) -> None:
        for server in (self.standby, self.primary):
            if server is not None:
                server.stop()

    def _say(self, *statements: str) -> None:
        with _connected(self.primary.url) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def follows(self, name: str, is_so: Callable[[str, str], bool], within_s: float = READY_S) -> bool:
        """Whether a server that reports as `name` comes to a state (state, sync_state) of which `is_so` holds."""
        deadline = time.monotonic() + within_s
        question = "SELECT state, sync_state FROM pg_stat_replication WHERE application_name = %s"
        while time.monotonic() < deadline:
            with _connected(self.primary.url) as connection:
                if any(is_so(*row) for row in connection.exec_driver_sql(question, (name,))):
                    return True
            time.sleep(0.1)
        return False

    def _until(self, what: str, is_so: Callable[[str, str], bool]) -> None:
        if not self.follows(STANDBY, is_so):
            raise RuntimeError(f"the standby was not {what} within {READY_S:.0f} s")


class Replica:
    """Follows whichever of a pair takes writes, and no commit waits for it; `server.url` is where it is read."""

    def __init__(self, directory: Path, pair: Pair, network: Network) -> None:
        self._home = directory / "postgresql-replica"
        self._pair = pair
        hosts, ports = ",".join([network.ours] * 2), ",".join(pair.ports)
        follow = f"host={hosts} port={ports} user=headgate application_name={REPLICA} target_session_attrs=read-write"
        settings = {**_SETTINGS, "primary_conninfo": follow, "wal_receiver_timeout": "2s"}
        log = directory / f"{self._home.name}.log"
        self.server = begin_postgresql(self._home, log, network.theirs, network.within, **settings)

    def begin(self) -> None:
        copy(self._home, self._pair.port)
        self.server.again()

    def catch_up(self) -> None:
        """After another server became the primary: a replica that was ahead of it cannot follow, and is made anew."""
        if not self._pair.follows(REPLICA, lambda state, _: state == "streaming", CATCH_UP_S):
            self.server.kill()
            self.begin()


@contextlib.contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextlib.contextmanager
def postgresql_pair(directory: Path, network: Network | None = None) -> Iterator[Pair]:
    pair = Pair(directory, network)
    try:
        pair.begin()
        yield pair
    finally:
        pair.stop()


@contextlib.contextmanager
def replica_of(pair: Pair, directory: Path, network: Network) -> Iterator[Replica]:
    replica = Replica(directory, pair, network)
    try:
        replica.begin()
        yield replica
    finally:
        replica.server.stop()
