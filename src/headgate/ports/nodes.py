"""Who serves from a ledger: the nodes tell it about themselves, so that operators see and compare them all."""

from __future__ import annotations

from typing import Protocol

import msgspec

SEEN_S = 5.0
"""How often a node says that it is there."""
GONE_S = 15.0
"""A node that has said nothing for so long is shown as gone."""


class NodeCard(msgspec.Struct, frozen=True):
    """What one plane of a node says about itself."""

    version: str
    schema: str
    listen: str
    workers: int
    settings: str
    """Digest of what all nodes should have in common, the key included; not of what belongs to one node alone."""


class NodeSeen(msgspec.Struct, frozen=True):
    """`changes` counts how often this name has come with another card."""

    name: str
    plane: str
    card: NodeCard
    changes: int
    seen_at_ms: int
    gone: bool


class NodeRegister(Protocol):
    def report(self, name: str, plane: str, card: NodeCard) -> None:
        """Raises LedgerError."""
        ...

    def all(self) -> list[NodeSeen]:
        """By name; those too that are gone, until somebody forgets them."""
        ...

    def forget(self, name: str) -> int:
        """Take a node that is gone off the list; how many of its planes there were."""
        ...
