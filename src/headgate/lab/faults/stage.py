"""Brings up everything that a fault run needs, and takes it down again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from ..servers.apart import apart
from ..servers.pair import postgresql_pair, replica_of
from ..servers.process import NoServer
from ..servers.valkey import valkey_cluster
from .blows import Stage
from .design import Design
from .product import Product

NODES = 4
KEEPERS = 2


class MakeDesign(Protocol):
    def __call__(self, directory: Path, ledger_url: str, replica_url: str | None, gate_url: str) -> Design:
        """A design whose programs are not started yet."""
        ...


def product(directory: Path, ledger_url: str, replica_url: str | None, gate_url: str) -> Design:
    return Product(directory, ledger_url, replica_url, gate_url, NODES, KEEPERS)


@contextlib.contextmanager
def stage(directory: Path, say: Callable[[str], None], make_design: MakeDesign = product) -> Iterator[Stage]:
    """Raises NoServer where a program is not there."""
    with contextlib.ExitStack() as parts:
        network = None
        try:
            network = parts.enter_context(apart())
        except NoServer as error:
            say(f"the ledger's replica is left out: {error}")
        ledger = parts.enter_context(postgresql_pair(directory, network))
        replica = None if network is None else parts.enter_context(replica_of(ledger, directory, network))
        gate = parts.enter_context(valkey_cluster(directory))
        replica_url = None if replica is None else replica.server.url.replace("+psycopg", "")
        design = make_design(directory, ledger.url, replica_url, gate.url)
        # One after the other: the first one makes the ledger's tables.
        for server in (*design.nodes, *design.keepers):
            parts.callback(server.stop)
            server.again()
        yield Stage(design, ledger, gate, replica, network)
