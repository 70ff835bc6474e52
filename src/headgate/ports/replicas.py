"""Where reads may go that need not see the last moment: replicas of the ledger, or its primary.

Failure policy: a replica that is away, too far behind or not a copy of this ledger is left out, and the primary
is read instead.  Nothing that decides, writes or shows people what they hold themselves comes this way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from .ledger import LedgerUnavailable

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
T = TypeVar("T")


class ReplicaAway(LedgerUnavailable):
    """A replica is not to be read now; the message says why and where to look."""


class Sources(Protocol[V_co]):
    """The primary and its replicas, each with a V that reads there."""

    @property
    def primary(self) -> V_co: ...

    def read(self, call: Callable[[V_co], T]) -> T:
        """What `call` answers on a replica that is good enough, or else on the primary.

        It may be called twice, the second time with the primary, so it must change nothing that a second call
        would change again.
        """
        ...

    def in_use(self) -> Mapping[int, bool]:
        """For each replica, by its place in the settings (from 1), whether it is read from."""
        ...

    def close(self) -> None: ...
