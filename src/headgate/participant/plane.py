"""What the routes of the participant plane work with; wired in `headgate.bootstrap`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..domain.claim import Claim
from ..http.address import ClientAddress
from ..ports.clock import Clock
from ..ports.entropy import Entropy
from ..ports.ledger import ClaimLedger
from ..ports.limiter import AddressLimiter
from ..ports.telemetry import Telemetry
from ..services.book import CampaignBook
from ..services.claiming import ClaimDesk
from ..services.ledger_thread import Runner
from ..services.sessions import Sessions
from .claims import ClaimForm
from .pages import Pages


class Reader:
    """Reads what a person holds, away from the event loop."""

    def __init__(self, ledger: ClaimLedger, runner: Runner) -> None:
        self._ledger = ledger
        self._runner = runner

    async def claims_of(self, campaign_id: int, person: bytes) -> list[Claim]:
        """Raises LedgerError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Claim]] = loop.create_future()

        def done(result: list[Claim] | Exception) -> None:
            if future.done():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self._runner.run(partial(self._ledger.claims_of, campaign_id, person), done)
        return await future


@dataclass
class Plane:
    """One worker's parts.  `permits` bounds the claims in progress; `progress` counts them."""

    clock: Clock
    entropy: Entropy
    book: CampaignBook
    desk: ClaimDesk
    form: ClaimForm
    sessions: Sessions
    addresses: ClientAddress
    limiter: AddressLimiter
    telemetry: Telemetry
    pages: Pages
    reader: Reader
    permits: int
    close: Callable[[], None]
    progress: int = 0
