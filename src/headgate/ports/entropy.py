"""Unguessable bytes, as a dependency."""

from __future__ import annotations

from typing import Protocol


class Entropy(Protocol):
    def token_bytes(self, count: int) -> bytes:
        """`count` bytes from a cryptographically secure source."""
        ...
