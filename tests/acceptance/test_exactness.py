"""Exactly what there is: never one unit more, never one less, never two where one is allowed.

The test counts the ledger itself, from its documented tables, while the crowd is at work and after it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence

import httpx2
import pytest

from tests.acceptance.client import Api, bearer, claims_path, confirmed, describe
from tests.acceptance.crowd import Rush, Told, tally
from tests.acceptance.ledger import Ledger, Watch
from tests.acceptance.product import Server, eventually, opened, rehearsal_tokens, run_cli, served

POOLS = ("north", "south", "west")


@pytest.fixture(scope="module", params=[1, 4], ids=["1 worker", "4 workers"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("exact") / "data", workers=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def door(house: Server) -> Iterator[Api]:
    client = Api(house.url)
    yield client
    client.close()


def audited(house: Server, slug: str) -> dict[str, int]:
    audit: dict[str, int] = run_cli("audit", slug, "--json", data=house.data).json()
    assert audit["ok"] is True, audit
    return audit


def crowd_of(tokens: Sequence[str], seed: int, *, keys: bool = False) -> list[Told]:
    dice = random.Random(seed)
    return [Told(t, dice.choice(POOLS), key=f"k{n}" if keys else None) for n, t in enumerate(tokens)]


def test_two_thousand_people_and_three_small_pools(house: Server, door: Api) -> None:
    stock = {"north": 120, "south": 45, "west": 1}
    slug = opened(house, door, "rush", tuple(stock.items()), rehearsal=True)
    people = crowd_of(rehearsal_tokens(house.data, slug, 2000), seed=11)
    ledger = Ledger(house.data)
    with Watch(ledger, slug) as watch:
        Rush(house.url, slug).run(people)
    watch.judge()
    pools = ledger.check(slug)
    assert {code: pool.taken for code, pool in pools.items()} == stock, f"{pools}\n{tally(people)}"
    told = [claim for person in people for claim in person.claim_ids]
    assert len(set(told)) == len(told) == 166, f"{len(told)} people were told that they won: {tally(people)}"
    assert set(told) == set(ledger.confirmed(slug)), "what people were told and what the ledger holds differ"
    assert tally(people) == {"201 confirmed": 166, "409 sold_out": 1834}, tally(people)
    assert audited(house, slug)["confirmed"] == 166


def test_a_thousand_parallel_requests_of_one_person_give_one_claim(house: Server, door: Api) -> None:
    slug = opened(house, door, "one-person", (("north", 50), ("south", 50), ("west", 50)))
    token = door.session()
    people = [Told(token, POOLS[n % 3]) for n in range(1000)]
    Rush(house.url, slug, connections=500).run(people)
    ids = {claim for person in people for claim in person.claim_ids}
    assert len(ids) == 1, f"{len(ids)} claims for one person: {tally(people)}"
    assert sum(person.created for person in people) == 1, f"more than one 201: {tally(people)}"
    assert set(tally(people)) <= {"201 confirmed", "200 confirmed", "409 limit_reached"}, tally(people)
    assert [c["id"] for c in door.mine(slug, token)] == list(ids)
    assert sum(pool.taken for pool in Ledger(house.data).check(slug).values()) == 1


def test_parallel_requests_with_one_key_give_one_claim_and_one_answer(house: Server, door: Api) -> None:
    slug = opened(house, door, "one-key", (("north", 50),), per_person=2)
    token = door.session()
    people = [Told(token, "north", key="same") for _ in range(200)]
    Rush(house.url, slug).run(people)
    assert set(tally(people)) <= {"201 confirmed", "200 confirmed"}, tally(people)
    assert len({claim for person in people for claim in person.claim_ids}) == 1, "one key, several claims"
    assert Ledger(house.data).check(slug, per_person=2)["north"].taken == 1


def test_per_person_two_holds_against_parallel_keys(house: Server, door: Api) -> None:
    slug = opened(house, door, "two-each", (("north", 50),), per_person=2)
    token = door.session()
    people = [Told(token, "north", key=f"key-{n}") for n in range(200)]
    Rush(house.url, slug).run(people)
    rows = Ledger(house.data).claims(slug)
    assert sorted(row.ordinal for row in rows) == [1, 2], f"{rows}\n{tally(people)}"
    assert Ledger(house.data).check(slug, per_person=2)["north"].taken == 2


def test_cancellations_that_race_claims_lose_and_create_nothing(house: Server, door: Api) -> None:
    slug = opened(house, door, "regret", (("north", 40),))
    tokens = [door.session() for _ in range(300)]
    ledger = Ledger(house.data)
    with Watch(ledger, slug) as watch:
        cancelled = asyncio.run(_claim_and_regret(house.url, slug, tokens, seed=5))
    watch.judge()
    assert cancelled, "nobody cancelled: the test shows nothing"
    ledger.check(slug)
    rows = {row.id: row.status for row in ledger.claims(slug)}
    assert all(rows[claim] == "cancelled" for claim in cancelled), "a cancelled claim is still valid"

    late = [Told(door.session(), "north") for _ in range(60)]
    eventually("every returned unit is sold again", lambda: _buys_the_rest(house, slug, late, ledger))
    assert audited(house, slug)["confirmed"] == 40


def _buys_the_rest(house: Server, slug: str, late: list[Told], ledger: Ledger) -> bool:
    Rush(house.url, slug, connections=8).run(late)
    return ledger.check(slug)["north"].remaining == 0


async def _claim_and_regret(url: str, slug: str, tokens: Sequence[str], seed: int) -> list[str]:
    """Everybody claims; every other winner cancels at once, twice at the same time. Ids of the cancelled claims."""
    dice, cancelled = random.Random(seed), []
    waiting = iter(tokens)
    limits = httpx2.Limits(max_connections=64)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=30, trust_env=False) as http:

        async def person(token: str) -> None:
            answer = await http.post(claims_path(slug), json={"pool": "north"}, headers=bearer(token))
            assert answer.status_code in (201, 409), describe(answer)
            if answer.status_code == 201 and dice.random() < 0.5:
                claim = confirmed(answer)["id"]
                path = f"{claims_path(slug)}/{claim}"
                both = await asyncio.gather(*(http.delete(path, headers=bearer(token)) for _ in range(2)))
                codes = sorted(b.status_code for b in both)
                assert codes[0] == 200, [describe(b) for b in both]
                assert codes[1] in (200, 404, 409, 410), [describe(b) for b in both]
                cancelled.append(claim)

        async def queue() -> None:
            for token in waiting:
                await person(token)

        async with asyncio.TaskGroup() as group:
            for _ in range(32):
                group.create_task(queue())
    return cancelled
