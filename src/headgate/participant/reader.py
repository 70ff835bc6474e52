"""What persons hold, read for all who ask at the same time at once.

Micro-batching, as at the claim desk: questions that come while a read is under way wait in a list and go together with
the next.  So none is answered by a read that began before it was asked, which might miss a claim that its person has
just been told of; and whoever reloads a page over and over is looked up once for all of it.
"""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from ..domain.claim import Claim, PersonKey
from ..domain.outcome import STORE_UNAVAILABLE
from ..ports.ledger import ClaimLedger, LedgerError
from ..services.ledger_thread import Runner
from .refused import Refused

READ_MAX = 512
"""Persons in one read, some milliseconds of the ledger; permits bound how many can wait for the next."""

_log = structlog.get_logger("headgate.participant")

_Asking = dict[PersonKey, list[asyncio.Future[list[Claim]]]]


class Reader:
    """Owned by one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ledger: ClaimLedger, runner: Runner) -> None:
        self._loop = loop
        self._ledger = ledger
        self._runner = runner
        self._waiting: _Asking = {}
        self._under_way = False
        self._failing = False

    async def claims_of(self, campaign_id: int, person: bytes) -> list[Claim]:
        """Every claim the person has or had, oldest first.  Raises Refused where the ledger fails."""
        future: asyncio.Future[list[Claim]] = self._loop.create_future()
        self._waiting.setdefault((campaign_id, person), []).append(future)
        if not self._under_way:
            self._under_way = True
            # At the end of this turn of the loop, so that what arrived together goes together.
            self._loop.call_soon(self._send)
        try:
            return await future
        except LedgerError as error:
            raise Refused(STORE_UNAVAILABLE) from error

    def _send(self) -> None:
        if not self._waiting:
            self._under_way = False
            return
        batch = dict(list(self._waiting.items())[:READ_MAX])
        for key in batch:
            del self._waiting[key]
        self._runner.run(partial(self._ledger.claims_of, list(batch)), partial(self._read, batch))

    def _read(self, batch: _Asking, result: dict[PersonKey, list[Claim]] | Exception) -> None:
        # The next batch goes out first, so that the ledger works while the answers are written.
        self._send()
        failed = isinstance(result, Exception)
        # The first failure of a row says it, as at the claim desk.
        if failed and not self._failing:
            _log.error("ledger_not_read", error=str(result), kind=type(result).__name__)
        self._failing = failed
        for key, futures in batch.items():
            for future in futures:
                if future.done():
                    # Whoever asked has gone.
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result[key])
