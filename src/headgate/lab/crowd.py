"""A crowd over real HTTP: distinct people who want something, some of whom ask twice."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from .connection import Connection


class Wish(msgspec.Struct, frozen=True, gc=False):
    """One person asks for one pool; `token` is the session."""

    token: str
    pool: str


class Heard(msgspec.Struct):
    """What the crowd was told: answers by outcome, and the claims that were confirmed, by token."""

    outcomes: Counter[str]
    confirmed: dict[str, str]
    lost_connections: int = 0


class _Answer(msgspec.Struct):
    outcome: str
    claim: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def wishes(tokens: Sequence[str], pools: Sequence[str], *, exponent: float, again: float, seed: int) -> Iterator[Wish]:
    """Everybody wants one pool, chosen by Zipf's law; a share `again` of them asks a second time at once."""
    rng = random.Random(seed)
    shuffled = list(pools)
    rng.shuffle(shuffled)
    weights = list(itertools.accumulate(1 / rank**exponent for rank in range(1, len(shuffled) + 1)))
    for token in tokens:
        wish = Wish(token, rng.choices(shuffled, cum_weights=weights)[0])
        yield wish
        if rng.random() < again:
            yield wish


async def rush(host: str, port: int, slug: str, crowd: Iterator[Wish], connections: int) -> Heard:
    """Every wish is asked once, over `connections` connections; a lost connection is opened again, its wish counted."""
    heard = Heard(Counter(), {})
    await asyncio.gather(*(_one(host, port, slug, crowd, heard) for _ in range(connections)))
    return heard


async def _one(host: str, port: int, slug: str, crowd: Iterator[Wish], heard: Heard) -> None:
    loop = asyncio.get_running_loop()
    connection: Connection | None = None
    for wish in crowd:
        try:
            if connection is None:
                _, connection = await loop.create_connection(Connection, host, port)
            answer = _decode((await connection.ask(_request(slug, wish))).body)
        except OSError:
            heard.lost_connections += 1
            connection = None
            continue
        heard.outcomes[answer.outcome] += 1
        if answer.claim is not None:
            heard.confirmed[wish.token] = answer.claim["id"]
    if connection is not None:
        connection.close()


def _request(slug: str, wish: Wish) -> bytes:
    body = b'{"pool":"%s"}' % wish.pool.encode()
    head = (
        f"POST /api/v1/campaigns/{slug}/claims HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {wish.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
