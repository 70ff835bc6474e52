"""What is put on the stage: the programs of a design, and how a sale of it is begun."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from ..servers.process import Server


class Sale(msgspec.Struct, frozen=True):
    """One campaign of a run: units by pool, and the file for the session tokens of its `people`."""

    slug: str
    pools: Mapping[str, int]
    people: int
    tokens: Path


class Design(Protocol):
    """Headgate itself, or something to compare it with, which talks the same API and keeps the same tables."""

    nodes: list[Server]
    """Take requests; any number of them, none knows another."""
    keepers: list[Server]
    """Do what is done once, or beside the requests."""
    cancels: bool
    """Whether people can give back what they have."""

    def begin(self, sale: Sale) -> None:
        """Make the campaign, open for an hour, and the tokens."""
        ...

    def settle(self, sale: Sale) -> None:
        """Wait until whatever people were promised has come to the ledger."""
        ...


def http_answers(url: str) -> bool:
    """Whether a node is ready."""
    # Without the proxies of the environment: they don't lead to this machine's own listeners.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=1):
            return True
    except OSError:
        return False
