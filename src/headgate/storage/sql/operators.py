"""Console accounts on SQL engines."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ...ports.clock import Clock
from ...ports.operators import Operator, OperatorExists, Role, UnknownOperator
from . import operations
from .engine import writing
from .schema import operator


class SqlOperators:
    """See `headgate.ports.operators.OperatorLedger` for what the calls promise."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._writing = writing(engine)
        self._clock = clock

    def add(self, name: str, role: Role, password_hash: str, *, actor: str) -> Operator:
        """Both the account and its row in the audit trail, or neither; raises OperatorExists."""
        now_ms = self._clock.now_ms()
        # The write lock is taken before the look-up, so nobody can add the same name in between.
        with self._writing.begin() as connection:
            if connection.scalar(sa.select(operator.c.id).where(operator.c.name == name)) is not None:
                raise OperatorExists(f"an operator {name!r} exists already; choose another name")
            connection.execute(
                sa.insert(operator).values(name=name, role=role, password_hash=password_hash, created_at=now_ms)
            )
            # The hash stays out of the audit trail, which more people may read than this table.
            detail = {"name": name, "role": str(role)}
            operations.record(connection, at_ms=now_ms, actor=actor, action="operator_add", detail=detail)
        return Operator(name, role, password_hash, now_ms)

    def set_password(self, name: str, password_hash: str, *, actor: str) -> None:
        """See the port; whoever is signed in with the old password is so no more."""
        with self._writing.begin() as connection:
            self._must_exist(connection, name)
            connection.execute(sa.update(operator).where(operator.c.name == name).values(password_hash=password_hash))
            self._record(connection, "operator_password", name, actor)

    def remove(self, name: str, *, actor: str) -> None:
        with self._writing.begin() as connection:
            self._must_exist(connection, name)
            connection.execute(sa.delete(operator).where(operator.c.name == name))
            self._record(connection, "operator_remove", name, actor)

    def _must_exist(self, connection: sa.Connection, name: str) -> None:
        if connection.scalar(sa.select(operator.c.id).where(operator.c.name == name)) is None:
            raise UnknownOperator(f"there is no operator {name!r}; `headgate operator list` shows them")

    def _record(self, connection: sa.Connection, action: str, name: str, actor: str) -> None:
        detail = {"name": name}
        operations.record(connection, at_ms=self._clock.now_ms(), actor=actor, action=action, detail=detail)

    def find(self, name: str) -> Operator | None:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(operator).where(operator.c.name == name)).one_or_none()
            return None if row is None else _operator(row)

    def operators(self) -> list[Operator]:
        with self._engine.connect() as connection:
            return [_operator(row) for row in connection.execute(sa.select(operator).order_by(operator.c.name))]

    def count(self) -> int:
        with self._engine.connect() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).select_from(operator)) or 0)


def _operator(row: sa.Row[Any]) -> Operator:
    return Operator(row.name, Role(row.role), row.password_hash, row.created_at)
