"""A connection to PostgreSQL that gives up a statement which is not answered.

The server's own time-outs don't help where it is frozen, nor do those of TCP: its kernel goes on acknowledging
what nobody reads.
"""

from __future__ import annotations

import time
from typing import Any, cast

import psycopg
from psycopg.abc import RV, PQGen


class ImpatientConnection(psycopg.Connection[Any]):
    """`patience_s` is how long it waits for the answer to a statement."""

    patience_s = 0.0

    def wait(self, gen: PQGen[RV], *arguments: Any, **options: Any) -> RV:
        return super().wait(_bounded(gen, time.monotonic() + self.patience_s), *arguments, **options)


def _bounded(gen: PQGen[RV], deadline: float) -> PQGen[RV]:
    """The same steps, which end at the deadline."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            wanted = gen.send(ready)
            if time.monotonic() > deadline:
                raise psycopg.OperationalError("no answer in time")
    except StopIteration as finished:
        return cast("RV", finished.value)
