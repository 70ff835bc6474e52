"""Legal runs by chance: a small serial ledger, impatient clients, and a network that delays, loses and repeats."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from tests.lab.scenes import T0, Row, Scene

OPENS_UNTIL_S = 3.0
CLOSES_S = 25.0
LAG_S = 0.8
"""How long a worker may go on saying that a pool is empty after its first unit came back."""

Answer = tuple[str, list[Row]]
Client = Generator[dict[str, Any] | float, Answer, None]


@dataclass
class Network:
    """What may happen to a request; times are seconds."""

    delay: float
    lost: float
    doubt: float
    shed: float


@dataclass
class Run:
    """One history: `scene` is what it left behind."""

    seed: int
    rng: random.Random = field(init=False)
    scene: Scene = field(init=False)
    now: float = -OPENS_UNTIL_S

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        pools = {"north": self.rng.randint(0, 6), "south": self.rng.randint(1, 4)}
        self.scene = Scene(pools, per_person=self.rng.choice((1, 1, 1, 2)), closes=CLOSES_S)
        self.network = Network(
            delay=self.rng.choice((0.01, 0.3, 2.0)),
            lost=self.rng.choice((0.0, 0.1, 0.4)),
            doubt=self.rng.choice((0.0, 0.1, 0.3)),
            shed=self.rng.choice((0.0, 0.2)),
        )
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._refilled_at: dict[str, float] = {}
        self._keys: dict[tuple[str, str], Row] = {}
        self._names = itertools.count()
        for number in range(self.rng.randint(2, 14)):
            self._come(f"p{number}")
        while self._events:
            self.now, _, happens = heapq.heappop(self._events)
            happens()

    def _at(self, time: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), happens))

    # Clients.

    def _come(self, person: str) -> None:
        start = self.rng.uniform(-OPENS_UNTIL_S, CLOSES_S + 2) if self.rng.random() < 0.5 else self.rng.uniform(0, 2)
        pool, key = self.rng.choice(("north", "north", "south")), self._key()
        self._at(start, lambda: self._go(person, self._visit(person, pool, key)))
        if self.rng.random() < 0.3:
            twin = key if self.rng.random() < 0.6 else self._key()
            self._at(start + self.rng.uniform(0, 0.4), lambda: self._go(person, self._ask(pool, twin)))

    def _key(self) -> str | None:
        return None if self.rng.random() < 0.3 else f"k{next(self._names)}"

    def _ask(self, pool: str, key: str | None) -> Client:
        """Ask until there is a final answer; in doubt, look at `mine` now and then."""
        while True:
            answer, _ = yield {"request": "claim", "pool": pool, "key": key}
            if answer[:3] in {"200", "201"} or answer in {"409 sold_out", "409 closed", "409 limit_reached"}:
                return
            if answer == "409 not_open" and self.rng.random() < 0.3:
                return
            if self.rng.random() < 0.3:
                yield {"request": "mine"}
            yield self.rng.uniform(0, 1.0)

    def _visit(self, person: str, pool: str, key: str | None) -> Client:
        """Ask, and then do some of what people do."""
        yield from self._ask(pool, key)
        for _ in range(self.rng.randint(0, 4)):
            yield self.rng.uniform(0, 3.0)
            deed = self.rng.random()
            told = [claim for line in self.scene.lines if line["person"] == person for claim in line["claims"]]
            if deed < 0.3 and told:
                yield {"request": "cancel", "claim": self.rng.choice(told)["id"]}
            elif deed < 0.55:
                yield {"request": "mine"}
            elif deed < 0.8:
                yield from self._ask(pool, key)
            else:
                yield from self._ask(self.rng.choice(("north", "south")), self._key())

    def _go(self, person: str, client: Client, answer: Answer | None = None) -> None:
        """Resume a client with its answer; send what it asks next."""
        try:
            asked = client.send(answer) if answer is not None else next(client)
        except StopIteration:
            return
        if isinstance(asked, float):
            self._at(self.now + asked, lambda: self._go(person, client, ("", [])))
            return
        request = {"person": person, "pool": None, "key": None, "claim": None, **asked}
        self._send(request, lambda answer: self._go(person, client, answer))

    # The network.

    def _send(self, request: dict[str, Any], hear: Callable[[Answer], None]) -> None:
        rng, sent = self.rng, self.now
        there = sent + rng.uniform(0, self.network.delay)
        heard = [False]

        def answered(answer: Answer) -> None:
            if not heard[0]:
                heard[0] = True
                self._log(request, sent, answer)
                hear(answer)

        def arrive() -> None:
            answer = self._serve(request, sent)
            if rng.random() < self.network.doubt and request["request"] != "mine":
                answer = ("503 unknown", [])
            self._at(self.now + rng.uniform(0, self.network.delay), lambda: answered(answer))

        fate = rng.random()
        if fate < self.network.lost / 2:
            self._at(sent + rng.uniform(0, 1), lambda: answered(("lost", [])))
        elif fate < self.network.lost:
            # The client gives up, before or after the server has done the work.
            self._at(sent + rng.uniform(0, 3), lambda: answered(("lost", [])))
            self._at(sent + rng.uniform(0, 6), lambda: arrive() if heard[0] else self._at(self.now + 3, arrive))
        elif fate < self.network.lost + self.network.shed:
            self._at(there, lambda: answered((rng.choice(("503 overloaded", "429 rate_limited")), [])))
        else:
            self._at(there, arrive)

    def _log(self, request: dict[str, Any], sent: float, answer: Answer) -> None:
        status, told = answer
        self.scene.line(
            request["person"], request["request"], sent, status, *told,
            pool=request["pool"], key=request["key"], claim=request["claim"], answered=T0 + self.now,
        )  # fmt: skip

    # The ledger.

    def _serve(self, request: dict[str, Any], sent: float) -> Answer:
        if self.rng.random() < self.network.doubt / 3 and request["request"] != "mine":
            return "503 unknown", []
        if request["request"] == "claim":
            return self._claim(request["person"], request["pool"], request["key"], sent)
        theirs = self._rows(request["person"])
        if request["request"] == "mine":
            return "200", [self.scene.told(row) for row in theirs]
        row = next(row for row in theirs if row["id"] == request["claim"])
        if row["status"] == "confirmed":
            code = self.scene.told(row)["pool"]
            if self.scene.pool(code)["remaining"] == 0:
                self._refilled_at[code] = self.now
            self.scene.end(row, self.now)
        return "200 cancelled", []

    def _rows(self, person: str) -> list[Row]:
        return [row for row in self.scene.rows if row["person"] == person.encode()]

    def _claim(self, person: str, code: str, key: str | None, sent: float) -> Answer:
        places, pool = self.scene.campaign["per_person"], self.scene.pool(code)
        made = self._keys.get((person, key)) if key else None
        live = [row for row in self._rows(person) if row["status"] == "confirmed"]
        if made is not None:
            # With another pool it would be another body.
            return ("200 confirmed", [self.scene.told(made)]) if made["pool_id"] == pool["id"] else ("422 invalid", [])
        if places == 1 and live and live[0]["pool_id"] == pool["id"]:
            return "200 confirmed", [self.scene.told(live[0])]
        if self.now < 0:
            return "409 not_open", []
        if self.now >= CLOSES_S:
            return "409 closed", []
        if len(live) >= places:
            return "409 limit_reached", []
        lags = self.now - self._refilled_at.get(code, -60) < LAG_S and self.rng.random() < 0.5
        if pool["remaining"] == 0 or lags:
            return "409 sold_out", []
        created = self.now - self.rng.random() * (self.now - max(sent, 0, self.now - 2))
        row = self.scene.row(person, code, at=created)
        # By then the moment in which it was decided lies a little behind.
        row["created_at"] = max(int((T0 + created) * 1000), T0 * 1000)
        if key:
            self._keys[person, key] = row
            row["key_digest"] = key.encode()
        return "201 confirmed", [self.scene.told(row)]
