"""How far a copy of the ledger has come.

Theory of operation.  The keeper renews its lease on the primary twice a second, and the row says when, by the
primary's clock.  A copy takes over commits in their order, so whoever finds the row on a copy finds there
everything that was committed before that moment.  The copy is as old as the moment is long ago, again by the
primary's clock: that of the copy is never asked, and a node's own only tells how long ago it asked.  Where no
keeper lives nothing is renewed, and every copy counts as old.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from ...ports.replicas import ReplicaAway
from .engine import LEDGER_ID
from .schema import SCHEMA_VERSION, counter, lease
from .servers import server_time

REPLICA_LAG_S = 2.0
"""How old what a replica shows may be.  A renewal comes every half second and the time of a keeper's turn, so that
one may be late, and another lost on its way, before a replica that follows at once is left out."""

ASK_S = 1.0
"""How often the primary is asked for the time; a step of its clock is noticed so much later."""

STEP_S = 0.1
"""A copy that shows a moment which is still to come by more than this shows that the primary's clock was set."""

_version = sa.table("alembic_version", sa.column("version_num"))


class Renewed(NamedTuple):
    """The lease whose renewals tell the time: its name, and for how long each is good."""

    name: str
    ttl_ms: int


class Standing(NamedTuple):
    """What one server says about the ledger that it has."""

    ledger_id: int | None
    schema: str | None
    as_of_ms: int | None
    """Everything that was committed before is there; None where that cannot be told."""
    now_ms: int
    """The server's clock."""


def standing(connection: sa.Connection, renewed: Renewed) -> Standing:
    """In one statement, so of one moment."""
    until, ledger_id, schema, now_s = connection.execute(
        sa.select(
            sa.select(lease.c.expires_at).where(lease.c.name == renewed.name).scalar_subquery(),
            sa.select(counter.c.value).where(counter.c.name == LEDGER_ID).scalar_subquery(),
            sa.select(_version.c.version_num).scalar_subquery(),
            server_time(connection.dialect.name),
        )
    ).one()
    # A lease that was given back is one that has expired at 0.
    return Standing(ledger_id, schema, until - renewed.ttl_ms if until else None, int(now_s * 1000))


class Told(NamedTuple):
    """What the primary said when it was asked, and when that was (s, by the node's timer)."""

    standing: Standing
    at_s: float


class Primary:
    """What copies are held against; used by several threads."""

    def __init__(self, engine: sa.Engine, renewed: Renewed, timer: Callable[[], float] = time.monotonic) -> None:
        """`timer` gives seconds and never steps."""
        self.renewed = renewed
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._timer = timer
        self._asking = threading.Lock()
        self._told: Told | None = None

    def ask(self) -> Told:
        """Where the primary stands, ASK_S ago at most; raises LedgerError."""
        with self._asking:
            # Before the question, so that the time counted on from it is never earlier than the primary's.
            now_s = self._timer()
            if self._told is None or now_s - self._told.at_s >= ASK_S:
                with self._engine.connect() as connection:
                    self._told = Told(standing(connection, self.renewed), now_s)
            return self._told

    def must_be_recent(self, copy: Standing) -> None:
        """Raises ReplicaAway for what is no copy of this ledger, or shows what is older than REPLICA_LAG_S."""
        behind_s = self.behind_s(copy)
        if behind_s is None:
            raise ReplicaAway("no keeper renews its lease, so that nobody can tell how far it is behind")
        if behind_s > REPLICA_LAG_S:
            raise ReplicaAway(
                f"it is {behind_s:.1f} s behind the primary, and {REPLICA_LAG_S:g} s are allowed; "
                "look whether replication runs"
            )

    def must_have_come_to(self, moment_ms: int, copy: Standing) -> None:
        """Raises ReplicaAway for what is no copy of this ledger, or may lack what was committed before the moment."""
        if self.behind_s(copy) is None or copy.as_of_ms is None or copy.as_of_ms < moment_ms:
            raise ReplicaAway("it has not come to where the primary was; look whether replication runs")

    def compared(self, copy: Standing) -> str:
        """How far the copy has come, for people; it was asked after the primary.  Raises ReplicaAway."""
        primary = self.ask().standing
        behind_s = self.behind_s(copy)
        renewed_ms = primary.now_ms - REPLICA_LAG_S * 1000
        if primary.as_of_ms is not None and primary.as_of_ms >= renewed_ms:
            self.must_be_recent(copy)
            return f"at most {behind_s:.1f} s behind"
        if copy.as_of_ms != primary.as_of_ms:
            raise ReplicaAway("it has not come to where the primary was; look whether replication runs")
        return "as far as the last keeper got; how far behind is known while one runs"

    def behind_s(self, copy: Standing) -> float | None:
        """How old what the copy shows may be; None where nobody can tell.  Raises ReplicaAway for what is no copy."""
        told = self._told or self.ask()
        if copy.ledger_id != told.standing.ledger_id:
            raise ReplicaAway("it holds another ledger than the primary; look at its URL in ledger.replica_urls")
        if copy.schema != SCHEMA_VERSION:
            raise ReplicaAway(
                f"it has schema {copy.schema}, and this program reads {SCHEMA_VERSION}; upgrade whichever is older"
            )
        if copy.as_of_ms is None:
            return None
        now_ms = told.standing.now_ms + (self._timer() - told.at_s) * 1000
        behind_s = (now_ms - copy.as_of_ms) / 1000
        if behind_s < -STEP_S:
            raise ReplicaAway("it shows a moment that is still to come: the primary's clock was set")
        return max(0.0, behind_s)
