"""A crowd that claims at the same time over real connections, and remembers what each of its people was told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import httpx2

from tests.acceptance.client import OUTCOMES, bearer

CONNECTIONS = 96
FINAL = {200, 201, 409}


@dataclass
class Told:
    """Everything one person heard: the claims that were confirmed to them, and the last answer."""

    token: str
    pool: str
    key: str | None = None
    claim_ids: list[str] = field(default_factory=list)
    status: int = 0
    outcome: str = "no answer"
    created: int = 0
    doubts: int = 0

    def hear(self, answer: httpx2.Response) -> None:
        body = answer.json()
        self.status, self.outcome = answer.status_code, str(body.get("outcome"))
        if answer.status_code in (200, 201):
            self.created += answer.status_code == 201
            self.claim_ids.append(str(body["claim"]["id"]))
        else:
            assert self.outcome in OUTCOMES, f"undocumented outcome {answer.status_code} {self.outcome!r}"
            assert answer.status_code < 500 or answer.status_code == 503, f"{answer.status_code} {answer.text[:300]}"


@dataclass
class Rush:
    """One rush on one campaign.

    `patience_s` is how long a person keeps asking after a broken connection or an honest 503; 0 asks once.
    `on_confirmed` is called with the number of confirmations so far, each time there is one more.
    """

    url: str
    slug: str
    patience_s: float = 10
    connections: int = CONNECTIONS
    on_confirmed: Callable[[int], None] | None = None
    confirmations: int = 0

    def run(self, people: Sequence[Told]) -> Sequence[Told]:
        asyncio.run(self._all(people))
        return people

    async def _all(self, people: Iterable[Told]) -> None:
        limits = httpx2.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)
        async with httpx2.AsyncClient(base_url=self.url, limits=limits, timeout=30, trust_env=False) as http:
            waiting = iter(people)
            async with asyncio.TaskGroup() as group:
                for _ in range(self.connections):
                    group.create_task(self._queue(http, waiting))

    async def _queue(self, http: httpx2.AsyncClient, waiting: Iterable[Told]) -> None:
        for person in waiting:
            await self._ask(http, person)

    async def _ask(self, http: httpx2.AsyncClient, person: Told) -> None:
        headers = bearer(person.token) | ({"Idempotency-Key": person.key} if person.key else {})
        give_up = time.monotonic() + self.patience_s
        while True:
            try:
                answer = await http.post(
                    f"/api/v1/campaigns/{self.slug}/claims", json={"pool": person.pool}, headers=headers
                )
            except httpx2.TransportError:
                person.doubts += 1
            else:
                person.hear(answer)
                if answer.status_code in (200, 201):
                    self.confirmations += 1
                    if self.on_confirmed:
                        self.on_confirmed(self.confirmations)
                if answer.status_code in FINAL:
                    return
            if time.monotonic() >= give_up:
                return
            await asyncio.sleep(0.05)


def tally(people: Iterable[Told]) -> Counter[str]:
    return Counter(f"{p.status} {p.outcome}" for p in people)
