"""What a node says about itself, and whether those of a fleet agree."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
import structlog

from .. import __version__
from ..ports.ledger import LedgerError
from ..ports.nodes import SEEN_S, NodeCard, NodeRegister, NodeSeen
from ..settings import Settings

OWN = frozenset({"listen", "console", "data_dir", "secret_file", "node_name", "workers"})
"""Settings that belong to one node alone."""

_log = structlog.get_logger("headgate.nodes")


def card_of(settings: Settings, key: bytes, schema: str, listen: str) -> NodeCard:
    """`key` keeps passwords in the digest unreadable, and shows where two nodes have different keys."""
    common = {name: value for name, value in msgspec.to_builtins(settings).items() if name not in OWN}
    digest = hashlib.blake2b(msgspec.json.encode(common, order="sorted"), digest_size=6, key=key[:32]).hexdigest()
    return NodeCard(__version__, schema, listen, settings.workers, digest)


class Reporter:
    """Says every SEEN_S that this plane is there; `tell` may be called at any time, from one thread."""

    def __init__(
        self, register: NodeRegister, name: str, plane: str, card: NodeCard, clock_s: Callable[[], float]
    ) -> None:
        self._register = register
        self._name = name
        self._plane = plane
        self._card = card
        self._clock_s = clock_s
        self._due_s = clock_s()
        self._failing = False

    def tell(self) -> None:
        """Where the ledger is away this is logged once, and tried again in time."""
        if self._clock_s() < self._due_s:
            return
        self._due_s = self._clock_s() + SEEN_S
        try:
            self._register.report(self._name, self._plane, self._card)
            self._failing = False
        except LedgerError as error:
            if not self._failing:
                _log.warning("node_not_reported", error=str(error))
            self._failing = True


def differing(nodes: Iterable[NodeSeen]) -> dict[tuple[str, str], list[str]]:
    """What a living node has other than most of them, by (name, plane): `version`, `schema`, `settings`."""
    living = [node for node in nodes if not node.gone]
    found: dict[tuple[str, str], list[str]] = {}
    for field in ("version", "schema", "settings"):
        usual = Counter(getattr(node.card, field) for node in living).most_common(1)
        for node in living:
            if getattr(node.card, field) != usual[0][0]:
                found.setdefault((node.name, node.plane), []).append(field)
    return found
