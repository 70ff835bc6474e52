"""Who may use the console.

Failure policy: closed.  Where operators cannot be looked up, nobody signs in and nobody stays signed in.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec


class Role(StrEnum):
    """What an operator may do; each role may do everything that the ones below it may."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class Operator(msgspec.Struct, frozen=True):
    """A console account; `password_hash` is an Argon2 hash in PHC string format."""

    name: str
    role: Role
    password_hash: str
    created_at_ms: int


class OperatorExists(ValueError):
    """An operator of this name exists."""


class UnknownOperator(LookupError):
    """There is no operator of this name."""


class OperatorLedger(Protocol):
    def add(self, name: str, role: Role, password_hash: str, *, actor: str) -> Operator:
        """Add an account and record who added it, both or neither; raises OperatorExists."""
        ...

    def set_password(self, name: str, password_hash: str, *, actor: str) -> None:
        """Give the account another password and record it, both or neither; raises UnknownOperator."""
        ...

    def remove(self, name: str, *, actor: str) -> None:
        """Remove the account and record it, both or neither; raises UnknownOperator."""
        ...

    def find(self, name: str) -> Operator | None: ...

    def operators(self) -> list[Operator]:
        """Every account, by name."""
        ...

    def count(self) -> int: ...
