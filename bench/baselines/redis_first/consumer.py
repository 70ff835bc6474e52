"""Takes wins from the store to the ledger, as long as it lives.

A win is acknowledged after its commit.  What a consumer had in hand when it died, or when its commit
failed, is handed to whoever looks for abandoned wins next; writing a win again changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

import sqlalchemy as sa

from .client import AnswerLost, GateAway
from .gate import Campaign, Gate, Win
from .ledger import read_campaigns, record

LOOK_S = 1.0
"""How often new campaigns and abandoned wins are looked for."""

PAUSE_S = 0.25
"""Before it goes on after an error of the store or the ledger."""

_log = logging.getLogger("redis_first")


class Consumer:
    def __init__(self, gate: Gate, engine: sa.Engine) -> None:
        self._gate = gate
        self._engine = engine
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ends `run` after the batches that are in hand.

        It is not cancelled: the library's waits may swallow that on Python 3.11, and then it would run for ever.
        """
        self._stopping.set()

    async def run(self) -> None:
        """Until it is stopped; raises what is no fault of the store or the ledger."""
        followed: set[str] = set()
        async with asyncio.TaskGroup() as group:
            while not self._stopping.is_set():
                try:
                    campaigns = await asyncio.to_thread(read_campaigns, self._engine)
                except sa.exc.SQLAlchemyError as error:
                    _log.error("campaigns cannot be read: %s", error)
                    campaigns = {}
                for slug in campaigns.keys() - followed:
                    group.create_task(self._follow(campaigns[slug]))
                    followed.add(slug)
                await self._pause(LOOK_S)

    async def _follow(self, campaign: Campaign) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while not self._stopping.is_set():
            try:
                wins: list[Win] = []
                if loop.time() >= look_at:
                    wins = await self._gate.abandoned(campaign, self._name)
                    # There may be more of them than one batch holds.
                    look_at = loop.time() + (0 if wins else LOOK_S)
                if not wins:
                    wins = await self._gate.news(campaign, self._name)
                if wins:
                    await self._settle(campaign, wins)
            except (GateAway, AnswerLost, sa.exc.SQLAlchemyError) as error:
                _log.error("%s: goes on in %s s: %s", campaign.slug, PAUSE_S, error)
                await self._pause(PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        """Shorter where it is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _settle(self, campaign: Campaign, wins: list[Win]) -> None:
        rejected = await asyncio.to_thread(record, self._engine, campaign, wins)
        if rejected:
            _log.error(
                "%s: %s people were told of claims that there is no place for; see the stream %s",
                campaign.slug, len(rejected), campaign.key("rejected"),
            )  # fmt: skip
        await self._gate.acknowledge(campaign, wins, rejected)
