"""The people of a fault run: a process of its own, which writes down every answer as its client saw it.

`python -m headgate.lab.faults.people PLAN` reads a `Plan` (JSON), tells on standard output how many people have
their final answer, and ends when all have.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..connection import Answered, Connection

FINAL = frozenset({200, 201, 400, 403, 404, 409})
"""Everything else is asked again."""

ANSWER_S = 20.0
"""After which a client gives a request up; longer than the product lets anybody wait for `unknown`."""
PATIENCE_S = 120.0
"""For how long a person goes on asking; the judge names those who got no answer."""
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.5
TELL_EVERY = 0.01
"""The share of the people after which their number is told, so that moments of a short rush are not passed over."""
LATE_MAX = 2_000
"""Late-comers to one pool; nobody returns units any more when they come, so that few find one."""


class Plan(msgspec.Struct, frozen=True):
    """`nodes` are HOST:PORT; person n has the n-th line of `tokens`, and the name `first + n` in the log.

    `late`: people come to each pool one after the other until it is sold out; else everybody comes at once,
    `connections` at a time, and shares of them do what people do.
    """

    nodes: list[str]
    slug: str
    tokens: str
    pools: dict[str, float]
    """The share of people who want it, by pool."""
    log: str
    seed: int
    connections: int
    cancelling: float
    first: int = 0
    keyed: float = 0.5
    twins: float = 0.05
    looking: float = 0.04
    late: bool = False


class Line(msgspec.Struct, frozen=True, gc=False):
    """One request as its client saw it; times are seconds of the wall clock."""

    person: str
    request: str
    pool: str | None
    key: str | None
    claim: str | None
    sent: float
    answered: float
    status: int | None
    outcome: str | None
    claims: list[dict[str, Any]]


class _Body(msgspec.Struct):
    outcome: str | None = None
    claim: dict[str, Any] | None = None
    claims: list[dict[str, Any]] | None = None


_decode = msgspec.json.Decoder(_Body).decode


class Wish(NamedTuple):
    """What a person asks for: `kind` as the log names it."""

    kind: str
    method: str
    path: str
    pool: str | None = None
    key: str | None = None
    claim: str | None = None

    def written(self, slug: str, token: str) -> bytes:
        """The request as it goes out."""
        head = (
            f"{self.method} /api/v1/campaigns/{slug}{self.path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\n"
        )
        if self.key is not None:
            head += f"Idempotency-Key: {self.key}\r\n"
        if self.pool is None:
            return f"{head}\r\n".encode()
        body = b'{"pool":"%s"}' % self.pool.encode()
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Person:
    """`name` is how the log calls them, `rng` decides what they do."""

    def __init__(self, name: str, token: str, rng: random.Random) -> None:
        self.name = name
        self.token = token
        self.rng = rng


class Crowd:
    def __init__(self, plan: Plan, log: Any) -> None:
        self._plan = plan
        self._log = log
        self._encode = msgspec.json.Encoder().encode
        self._places = [(host, int(port)) for host, _, port in (node.rpartition(":") for node in plan.nodes)]
        self._idle: dict[tuple[str, int], list[Connection]] = {place: [] for place in self._places}
        self.served = 0
        with Path(plan.tokens).open(encoding="ascii") as file:
            self._tell_every = max(1, round(TELL_EVERY * sum(1 for _ in file)))

    def _people(self) -> Iterator[Person]:
        with Path(self._plan.tokens).open(encoding="ascii") as file:
            for number, line in enumerate(file):
                name = str(self._plan.first + number)
                yield Person(name, line.strip(), random.Random(f"{self._plan.seed}-{name}"))

    async def all_at_once(self) -> None:
        people = self._people()
        await asyncio.gather(*(self._serve(people) for _ in range(self._plan.connections)))
        self._tell()

    async def late_comers(self) -> None:
        people = self._people()
        for pool in self._plan.pools:
            for person in itertools.islice(people, LATE_MAX):
                line = await self._insist(person, pool, None)
                if line is None or line.outcome == "sold_out":
                    break

    async def _serve(self, people: Iterator[Person]) -> None:
        pools, weights = [*self._plan.pools], [*itertools.accumulate(self._plan.pools.values())]
        for person in people:
            await self._live(person, person.rng.choices(pools, cum_weights=weights)[0])
            self.served += 1
            if self.served % self._tell_every == 0:
                self._tell()

    def _tell(self) -> None:
        sys.stdout.write(f"{self.served}\n")
        sys.stdout.flush()

    async def _live(self, person: Person, pool: str) -> None:
        """Want a place, perhaps with two requests at once; look afterwards, or give it back."""
        rng, plan = person.rng, self._plan
        key = f"key-{person.name}" if rng.random() < plan.keyed else None
        requests = 2 if rng.random() < plan.twins else 1
        lines = await asyncio.gather(*(self._insist(person, pool, key) for _ in range(requests)))
        has = next((line for line in lines if line is not None and line.claims), None)
        if rng.random() < plan.looking:
            await self._mine(person)
        if has is not None and rng.random() < plan.cancelling:
            await self._cancel(person, has.claims[0]["id"])

    async def _insist(self, person: Person, pool: str, key: str | None) -> Line | None:
        """Until somebody says yes or no; None where nobody did for PATIENCE_S."""
        wish = Wish("claim", "POST", "/claims", pool=pool, key=key)
        for pause in self._pauses(person):
            line = await self._ask(person, wish)
            if line.status in FINAL:
                return line
            if person.rng.random() < 0.2:
                await self._mine(person)
            await asyncio.sleep(pause)
        return None

    async def _mine(self, person: Person) -> None:
        await self._ask(person, Wish("mine", "GET", "/claims/mine"))

    async def _cancel(self, person: Person, claim: str) -> None:
        wish = Wish("cancel", "DELETE", f"/claims/{claim}", claim=claim)
        for pause in self._pauses(person):
            line = await self._ask(person, wish)
            if line.status in FINAL:
                return
            await asyncio.sleep(pause)

    def _pauses(self, person: Person) -> Iterator[float]:
        """Exponential, with jitter, until the person's patience ends."""
        give_up, bound = time.monotonic() + PATIENCE_S, PAUSE_MIN_S
        while time.monotonic() < give_up:
            yield person.rng.uniform(0, bound)
            bound = min(2 * bound, PAUSE_MAX_S)

    async def _ask(self, person: Person, wish: Wish) -> Line:
        sent = time.time()
        answered = await self._send(person, wish.written(self._plan.slug, person.token))
        said = _Body() if answered is None else _decode(answered.body)
        claims = said.claims if said.claims is not None else [said.claim] if said.claim is not None else []
        status = None if answered is None else answered.status
        line = Line(
            person.name, wish.kind, wish.pool, wish.key, wish.claim, sent, time.time(), status, said.outcome, claims
        )
        self._log.write(self._encode(line) + b"\n")
        return line

    async def _send(self, person: Person, request: bytes) -> Answered | None:
        """At any node; None where no answer came."""
        place = person.rng.choice(self._places)
        idle = self._idle[place]
        connection: Connection | None = None
        try:
            async with asyncio.timeout(ANSWER_S):
                while idle and (connection is None or not connection.open):
                    connection = idle.pop()
                if connection is None or not connection.open:
                    loop = asyncio.get_running_loop()
                    _, connection = await loop.create_connection(Connection, *place)
                answered = await connection.ask(request)
        except OSError:
            # So is TimeoutError.
            if connection is not None:
                connection.close()
            return None
        if connection.open:
            idle.append(connection)
        return answered


def main(arguments: Sequence[str]) -> None:
    plan = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Plan)
    with Path(plan.log).open("wb", buffering=1 << 20) as log:
        crowd = Crowd(plan, log)
        asyncio.run(crowd.late_comers() if plan.late else crowd.all_at_once())


if __name__ == "__main__":
    main(sys.argv[1:])
