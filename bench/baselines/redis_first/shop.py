"""What the listener asks: the store, filled from the ledger where it is empty."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from .client import AnswerLost, GateAway
from .gate import Campaign, Claim, Gate
from .ledger import read_campaigns, read_stock

REREAD_S = 1.0
"""How often the ledger is asked for campaigns that are not known."""

_log = logging.getLogger("redis_first")


class Shop:
    """Of one event loop.  Calls raise GateAway where nothing was taken."""

    def __init__(self, gate: Gate, engine: sa.Engine) -> None:
        self._gate = gate
        self._engine = engine
        self._campaigns: dict[str, Campaign] = {}
        self._read_at = float("-inf")
        self._failure: sa.exc.SQLAlchemyError | None = None
        self._reading = asyncio.Lock()
        self._reloading = asyncio.Lock()

    async def campaign(self, slug: str) -> Campaign | None:
        found = self._campaigns.get(slug)
        if found is None:
            await self._read()
            found = self._campaigns.get(slug)
        return found

    async def check(self) -> None:
        """Raises GateAway where claims of any campaign could not be taken."""
        if not self._campaigns:
            await self._read()
        with _nothing_taken():
            for campaign in self._campaigns.values():
                await self._gate.loaded(campaign)

    async def take(self, campaign: Campaign, person: str, pool: str) -> tuple[str, Claim | None]:
        """See `Gate.take`, but never `unloaded`; raises AnswerLost where nobody knows."""
        outcome, claim = await self._gate.take(campaign, person, pool)
        if outcome == "unloaded":
            await self.load(campaign)
            outcome, claim = await self._gate.take(campaign, person, pool)
        if outcome == "unloaded":
            raise GateAway(f"the stock of {campaign.slug!r} was erased again")
        return outcome, claim

    async def held(self, campaign: Campaign, person: str) -> Claim | None:
        with _nothing_taken():
            loaded, claim = await self._gate.held(campaign, person)
            if not loaded:
                await self.load(campaign)
                _, claim = await self._gate.held(campaign, person)
        return claim

    async def load(self, campaign: Campaign) -> None:
        """Fill the store from the ledger where the campaign's stock is not there."""
        async with self._reloading:
            with _nothing_taken():
                if not await self._gate.loaded(campaign):
                    await self._load(campaign)

    async def _load(self, campaign: Campaign) -> None:
        loop = asyncio.get_running_loop()

        def keep(page: list[tuple[str, Claim]]) -> None:
            asyncio.run_coroutine_threadsafe(self._gate.remember(campaign, page), loop).result()

        # The usual repair, and where this design oversells: `remaining` knows nothing of the wins that were
        # confirmed to people and had not come to the ledger when the store lost its memory, so their units
        # are sold once more.  Nobody is left who could tell which they were.
        try:
            remembered, stock = await asyncio.to_thread(read_stock, self._engine, campaign, keep)
        except sa.exc.SQLAlchemyError as error:
            raise GateAway(f"the stock cannot be loaded, the ledger does not answer: {error}") from error
        if not await self._gate.load(campaign, remembered, stock):
            raise GateAway(f"the claims of {campaign.slug!r} were erased while they were loaded")
        units = sum(stock.values())
        _log.warning("loaded %s from the ledger: %s claims, %s units left", campaign.slug, remembered, units)

    async def _read(self) -> None:
        async with self._reading:
            loop = asyncio.get_running_loop()
            if loop.time() - self._read_at >= REREAD_S:
                try:
                    self._campaigns = await asyncio.to_thread(read_campaigns, self._engine)
                    self._failure = None
                except sa.exc.SQLAlchemyError as error:
                    self._failure = error
                self._read_at = loop.time()
            if self._failure is not None:
                raise GateAway(f"campaigns cannot be read, the ledger does not answer: {self._failure}")


@contextmanager
def _nothing_taken() -> Iterator[None]:
    """Around calls that take nothing: whether they were done need not be known."""
    try:
        yield
    except AnswerLost as error:
        raise GateAway(str(error)) from error
