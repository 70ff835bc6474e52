"""The store as this design uses it: stock, claims and the stream of wins.

All keys of a campaign lie under one hash tag, so on one server of a cluster.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import redis.exceptions

from .client import AsyncClient, Client, Script

TAKE, HELD, REMEMBER, LOAD = (
    Script((Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8"))
    for name in ("take", "held", "remember", "load")
)

GROUP = "ledger"
BATCH_MAX = 500
"""Wins of one transaction of the ledger."""

BLOCK_MS = 200
"""How long a consumer waits at the store for news; much shorter than ANSWER_S."""

IDLE_MS = 2_000
"""A batch that was not acknowledged for so long is somebody else's to do: its consumer died, or its commit failed."""

CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_LENGTH = 10

Ask = Callable[[AsyncClient], Awaitable[Any]]


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a person holds; `at_ms` is when it was given."""

    id: str
    code: str
    pool: str
    at_ms: int

    def text(self) -> str:
        return f"{self.id} {self.code} {self.pool} {self.at_ms}"


class Win(msgspec.Struct, frozen=True, gc=False):
    """A claim on its way to the ledger; `entry` is its place on the stream, `person` in hexadecimal digits."""

    entry: str
    person: str
    claim: Claim


class Campaign(msgspec.Struct, frozen=True):
    """`pools` are the ids of the ledger's rows, by code (times in ms)."""

    id: int
    slug: str
    opens_at_ms: int
    closes_at_ms: int
    pools: dict[str, int]

    def key(self, name: str) -> str:
        return key(self.slug, name)


def key(slug: str, name: str) -> str:
    return f"{{redis-first:{slug}}}:{name}"


class Gate:
    """Every call raises GateAway where nothing was done, and AnswerLost where nobody knows."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def take(self, campaign: Campaign, person: str, pool: str) -> tuple[str, Claim | None]:
        """Outcome, and the claim where it is `confirmed` or `repeated`; `unloaded` where the stock is not there."""
        keys = [campaign.key("stock"), campaign.key("claims"), campaign.key("wins")]
        claim_id = secrets.token_hex(16)
        code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
        window = (campaign.opens_at_ms, campaign.closes_at_ms)
        outcome, text = await self._client.call(
            lambda client: TAKE.run(client, keys, pool, person, claim_id, code, *window)
        )
        return outcome, _claim(text)

    async def held(self, campaign: Campaign, person: str) -> tuple[bool, Claim | None]:
        """Whether the campaign is loaded, and what the person holds."""
        keys = [campaign.key("stock"), campaign.key("claims")]
        loaded, text = await self._client.call(lambda client: HELD.run(client, keys, person))
        return bool(loaded), _claim(text)

    async def loaded(self, campaign: Campaign) -> bool:
        return bool(await self._client.call(lambda client: client.exists(campaign.key("stock"))))

    async def has_keys(self, slug: str) -> bool:
        keys = [key(slug, name) for name in ("stock", "claims", "wins", "rejected")]
        return bool(await self._client.call(lambda client: client.exists(*keys)))

    async def remember(self, campaign: Campaign, claims: Sequence[tuple[str, Claim]]) -> None:
        """Put back claims that the ledger has, by person."""
        words = [word for person, claim in claims for word in (person, claim.text())]
        await self._client.call(lambda client: REMEMBER.run(client, [campaign.key("claims")], *words))

    async def load(self, campaign: Campaign, remembered: int, stock: dict[str, int]) -> bool:
        """Put the stock there; False where some of the claims that were put back are gone again."""
        keys = [campaign.key("stock"), campaign.key("claims")]
        words = [word for pool, units in stock.items() for word in (pool, units)]
        return bool(await self._client.call(lambda client: LOAD.run(client, keys, remembered, *words)))

    async def abandoned(self, campaign: Campaign, consumer: str) -> list[Win]:
        """Wins that were handed to a consumer and not acknowledged; from now on they are this one's."""

        async def ask(client: AsyncClient) -> Any:
            return await client.xautoclaim(campaign.key("wins"), GROUP, consumer, IDLE_MS, "0-0", count=BATCH_MAX)

        found = await self._of_group(campaign, ask)
        return _wins(found[1]) if found else []

    async def news(self, campaign: Campaign, consumer: str) -> list[Win]:
        """Wins that no consumer has got yet; waits a moment for the first of them."""

        async def ask(client: AsyncClient) -> Any:
            return await client.xreadgroup(
                GROUP, consumer, {campaign.key("wins"): ">"}, count=BATCH_MAX, block=BLOCK_MS
            )

        found = await self._of_group(campaign, ask)
        return _wins(found[0][1]) if found else []

    async def acknowledge(self, campaign: Campaign, wins: Sequence[Win], rejected: Sequence[Win]) -> None:
        """Take wins off the stream that the ledger has decided; `rejected` are kept aside for people to look at."""
        stream, entries = campaign.key("wins"), [win.entry for win in wins]

        async def ask(client: AsyncClient) -> None:
            for win in rejected:
                await client.xadd(campaign.key("rejected"), {"person": win.person, "claim": win.claim.text()})
            await client.xack(stream, GROUP, *entries)
            await client.xdel(stream, *entries)

        await self._client.call(ask)

    async def _of_group(self, campaign: Campaign, read: Ask) -> Any:
        """What the group's reading gave; None where there was no group, which there is now."""

        async def ask(client: AsyncClient) -> Any:
            try:
                return await read(client)
            except redis.exceptions.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
            try:
                # From the first entry on: the stream of a store that was erased may have some already.
                await client.xgroup_create(campaign.key("wins"), GROUP, id="0", mkstream=True)
            except redis.exceptions.ResponseError as error:
                # Another consumer was faster.
                if not str(error).startswith("BUSYGROUP"):
                    raise

        return await self._client.call(ask)


def _claim(text: str) -> Claim | None:
    if not text:
        return None
    claim_id, code, pool, at_ms = text.split(" ")
    return Claim(claim_id, code, pool, int(at_ms))


def _wins(entries: Sequence[tuple[str, dict[str, str]]]) -> list[Win]:
    wins = []
    for entry, fields in entries:
        claim = _claim(fields["claim"])
        assert claim is not None, "take.lua puts no win on the stream without its claim"
        wins.append(Win(entry, fields["person"], claim))
    return wins
