"""A ledger process whose answers a test chooses by what it asks for: `python scripted_ledger.py FIFO SOCKET`."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headgate.domain.claim import Claim, ClaimRequest, Granted, Status
from headgate.domain.outcome import Refusal
from headgate.ports.ledger import (
    BatchResult,
    LedgerBroken,
    LedgerDamaged,
    LedgerError,
    LedgerInDoubt,
    LedgerUnavailable,
    PoolStock,
)
from headgate.ports.strangers import Strangers, Turned
from headgate.storage.sql.ledger_process import serve
from headgate.storage.sql.wire import REFUSALS

RAISES, DIES, WAITS = 1_001, 1_002, 1_003
"""Campaigns: the pool says which of ERRORS is raised; the process kills itself; it waits for a byte from FIFO."""

ERRORS: tuple[Exception, ...] = (
    LedgerUnavailable("the disk is full"),
    LedgerInDoubt("a commit without an answer"),
    LedgerDamaged("rows contradict each other"),
    LedgerError("something else of the ledger"),
    ValueError("a fault of the program"),
    KeyError(),
)
BROKEN = LedgerBroken("a sync has failed")

REFUSES = 100
"""Pools from here on are refused with the refusal of that number."""


class ScriptedLedger:
    """The two calls of `headgate.ports.ledger.ClaimLedger` that travel between processes."""

    def __init__(self, fifo: Path) -> None:
        self._fifo = fifo
        self._calls = 0

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool]) -> BatchResult:
        self._calls += 1
        campaign_id, pool_id = batch[0].campaign_id, batch[0].pool_id
        if campaign_id == RAISES:
            raise (*ERRORS, BROKEN)[pool_id]
        if campaign_id == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if campaign_id == WAITS:
            with self._fifo.open("rb") as told:
                told.read(1)
        decisions = [decision(request, is_fresh) for request, is_fresh in zip(batch, fresh, strict=True)]
        return BatchResult(decisions, [PoolStock(campaign_id, pool_id, len(batch), self._calls)])

    def cancel(self, campaign_id: int, person: bytes, claim_id: str) -> tuple[Claim | Refusal, list[PoolStock]]:
        self._calls += 1
        if campaign_id == RAISES:
            raise (*ERRORS, BROKEN)[int(claim_id)]
        if claim_id.isdigit():
            return REFUSALS[int(claim_id)], []
        ended = Claim(claim_id, 3, person.hex(), -3, Status.CANCELLED, "CODE", 1_796_097_600_000)
        return ended, [PoolStock(campaign_id, 1, 5, self._calls)]


def decision(request: ClaimRequest, is_fresh: bool) -> Granted | Refusal:
    """A claim that tells everything that came along, or a refusal."""
    if request.pool_id >= REFUSES:
        return REFUSALS[request.pool_id - REFUSES]
    text = ":".join((digest or b"-").hex() for digest in (request.person, request.key_digest, request.body_digest))
    claim = Claim(text, request.campaign_id, f"p{request.pool_id}", 1, Status.CONFIRMED, "CODE", 1_796_097_600_000)
    return Granted(claim, repeated=not is_fresh)


class ScriptedDoorkeeper:
    """Answers each with what their first byte is, and with everything else that came along."""

    def turn_away(self, strangers: Strangers) -> Turned:
        if strangers.campaign_id == RAISES:
            raise LedgerUnavailable("the disk is full")
        rest = [*strangers.pool_ids, *map(len, strangers.counters), strangers.per_minute]
        return Turned([-person[0] for person in strangers.persons] + rest, strangers.campaign_id)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[2])) as connection:
        ledger: Any = ScriptedLedger(Path(sys.argv[1]))
        serve(connection, ledger, ScriptedDoorkeeper())
