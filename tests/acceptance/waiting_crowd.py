"""A crowd at a queued campaign: its people ask, wait, look, and ask again where their request was lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.acceptance.client import OUTCOMES, bearer, claims_path, describe

CONNECTIONS = 64
LOOK_S = 0.05


@dataclass
class Person:
    """`claim_ids` are all that they were ever told they have; `told` is how it ended."""

    token: str
    pool: str = "central"
    key: str | None = None
    claim_ids: set[str] = field(default_factory=set)
    told: str = ""
    asked: int = 0
    waited: int = 0
    lost: int = 0


class WaitingCrowd:
    """`urls` are nodes; everybody asks one of them, and looks at the next."""

    def __init__(self, urls: Sequence[str], slug: str, *, patience_s: float = 60) -> None:
        self._urls = urls
        self._slug = slug
        self._patience_s = patience_s
        self.on_told: Callable[[int], None] | None = None
        self._told = 0

    def run(self, people: Iterable[Person]) -> None:
        """Until everybody knows; AssertionError where somebody does not within the patience."""
        asyncio.run(self._all(people))

    def ask_once(self, people: Iterable[Person]) -> Counter[str]:
        """Everybody asks, and nobody looks; what they were answered."""
        return asyncio.run(self._asked(people))

    async def _clients(self) -> list[httpx2.AsyncClient]:
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        return [httpx2.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) for url in self._urls]

    async def _all(self, people: Iterable[Person]) -> None:
        clients = await self._clients()
        async with asyncio.TaskGroup() as group:
            for number, person in enumerate(people):
                group.create_task(self._insist(clients, number, person))
        for client in clients:
            await client.aclose()

    async def _asked(self, people: Iterable[Person]) -> Counter[str]:
        clients = await self._clients()
        answers = await asyncio.gather(
            *(self._ask(clients[number % len(clients)], person) for number, person in enumerate(people))
        )
        for client in clients:
            await client.aclose()
        return Counter(f"{answer.status_code} {answer.json()['outcome']}" for answer in answers)

    async def _ask(self, client: httpx2.AsyncClient, person: Person) -> httpx2.Response:
        headers = bearer(person.token) | ({"Idempotency-Key": person.key} if person.key else {})
        return await client.post(claims_path(self._slug), json={"pool": person.pool}, headers=headers)

    async def _insist(self, clients: Sequence[httpx2.AsyncClient], number: int, person: Person) -> None:
        give_up = time.monotonic() + self._patience_s
        while not person.told:
            number += 1
            assert time.monotonic() < give_up, f"somebody never heard what came of it: {person}"
            try:
                await self._try(clients[number % len(clients)], clients[(number + 1) % len(clients)], person)
            except httpx2.TransportError:
                await asyncio.sleep(LOOK_S)
        self._told += 1
        if self.on_told is not None:
            self.on_told(self._told)

    async def _try(self, asks: httpx2.AsyncClient, looks: httpx2.AsyncClient, person: Person) -> None:
        person.asked += 1
        answer = await self._ask(asks, person)
        body = answer.json()
        if answer.status_code in (200, 201):
            person.claim_ids.add(body["claim"]["id"])
            person.told = "confirmed"
        elif answer.status_code == 409:
            person.told = body["outcome"]
        elif answer.status_code == 202:
            assert body == {"outcome": "pending"}, describe(answer)
            await self._wait(looks, person)
        else:
            assert answer.status_code == 503, describe(answer)
            assert body["outcome"] in OUTCOMES, describe(answer)
            await asyncio.sleep(4 * LOOK_S)

    async def _wait(self, client: httpx2.AsyncClient, person: Person) -> None:
        person.waited += 1
        while True:
            answer = await client.get(f"{claims_path(self._slug)}/mine", headers=bearer(person.token))
            if answer.status_code == 200:
                mine: dict[str, Any] = answer.json()
                person.claim_ids |= {claim["id"] for claim in mine["claims"]}
                if mine["claims"]:
                    person.told = "confirmed"
                elif mine.get("pending") is False:
                    person.told = mine.get("outcome", "")
                    person.lost += not person.told
                else:
                    await asyncio.sleep(LOOK_S)
                    continue
                return
            assert answer.status_code == 503, describe(answer)
            await asyncio.sleep(4 * LOOK_S)
