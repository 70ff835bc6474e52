"""A ledger without replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic

from ..ports.replicas import T, V


class PrimaryAlone(Generic[V]):
    """See `headgate.ports.replicas.Sources`."""

    def __init__(self, primary: V) -> None:
        self.primary = primary

    def read(self, call: Callable[[V], T]) -> T:
        return call(self.primary)

    def in_use(self) -> Mapping[int, bool]:
        return {}

    def close(self) -> None:
        """Nothing: the primary belongs to whoever opened it."""
