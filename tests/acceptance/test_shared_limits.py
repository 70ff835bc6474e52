"""Limits that hold over nodes, and what becomes of them when the gate that counts them is away."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import httpx2
import pytest

from tests.acceptance.client import Api, bearer, claims_path, refused
from tests.acceptance.product import Server, create_campaign, eventually
from tests.servers import Server as Valkey
from tests.servers import valkey

LIMIT = 60
SLUG = "masks"
NODES = 4


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey(tmp_path_factory.mktemp("gate")) as server:
        yield server


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, gate: Valkey) -> Iterator[list[Server]]:
    """Each with a ledger of its own: what they share is the gate and the key."""
    directory = tmp_path_factory.mktemp("fleet")
    settings = {
        "HEADGATE_GATE__URL": gate.url,
        "HEADGATE_SECRET_FILE": str(directory / "secret.key"),
        "HEADGATE_LIMITS__PER_IP_PER_MINUTE": str(LIMIT),
    }
    nodes = [Server(directory / f"node-{number}", settings=settings) for number in range(NODES)]
    for node in nodes:
        create_campaign(node.data, SLUG, (("central", 100_000),))
        node.start()
    yield nodes
    for node in nodes:
        node.end()


def session_from_elsewhere(node: Server, source: str) -> str:
    with Api(node.url, source=source) as other:
        return other.session()


def test_an_address_has_one_count_over_all_nodes_however_its_requests_come(fleet: list[Server]) -> None:
    token = session_from_elsewhere(fleet[0], "127.0.1.1")
    statuses: Counter[int] = Counter()

    def ask(node: Server) -> None:
        with Api(node.url, source="127.0.0.2") as api:
            for number in range(LIMIT):
                # Claims, state and pages count alike.
                if number % 3:
                    answer = api.request("GET", f"/api/v1/campaigns/{SLUG}" if number % 3 == 1 else f"/c/{SLUG}")
                else:
                    answer = api.request("POST", claims_path(SLUG), json={"pool": "central"}, headers=bearer(token))
                statuses[answer.status_code] += 1

    threads = [threading.Thread(target=ask, args=(node,)) for node in fleet]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses.total() == NODES * LIMIT
    assert statuses.total() - statuses[429] == LIMIT, statuses
    with Api(fleet[1].url, source="127.0.0.3") as other:
        assert other.state(SLUG)["slug"] == SLUG, "others are not concerned"


def knows(api: Api, slug: str) -> bool:
    return api.request("GET", f"/c/{slug}").is_success


def test_a_campaign_limits_persons_devices_and_everybody_over_nodes(fleet: list[Server]) -> None:
    limits = "{ per_person_per_minute = 3, per_device_per_minute = 5, per_minute = 9 }"
    for node in fleet:
        create_campaign(node.data, "limited", (("central", 100),), limits=limits)
    apis = [Api(node.url, source=f"127.0.2.{number}") for number, node in enumerate(fleet)]
    for api in apis:
        eventually("every node knows the campaign", partial(knows, api, "limited"))
    asked = 0

    def statuses(person: str, device: str | None, count: int) -> list[int]:
        nonlocal asked
        found = []
        for _ in range(count):
            asked += 1
            body = {"pool": "central"} | ({} if device is None else {"signals": {"device": device}})
            answer = apis[asked % NODES].request("POST", claims_path("limited"), json=body, headers=bearer(person))
            if answer.status_code == 429:
                refused(answer, 429, "rate_limited")
                assert 1 <= int(answer.headers["retry-after"]) <= 60
            found.append(answer.status_code)
        return found

    people = [apis[0].session() for _ in range(4)]
    assert [status < 400 for status in statuses(people[0], "a", 5)] == [True] * 3 + [False] * 2
    assert [status < 400 for status in statuses(people[1], "a", 3)] == [True] * 2 + [False]
    assert [status < 400 for status in statuses(people[2], None, 3)] == [True] * 3
    assert [status < 400 for status in statuses(people[3], None, 3)] == [True] + [False] * 2
    for api in apis:
        api.close()


def test_a_limit_of_pools_is_one_for_each_and_none_for_what_is_no_pool(fleet: list[Server]) -> None:
    pools = (("north", 100), ("south", 100))
    for node in fleet:
        create_campaign(node.data, "sites", pools, limits="{ per_pool_per_minute = 4 }")
    apis = [Api(node.url, source=f"127.0.3.{number}") for number, node in enumerate(fleet)]
    for api in apis:
        eventually("every node knows the campaign", partial(knows, api, "sites"))

    def statuses(pool: str) -> list[int]:
        return [
            api.request("POST", claims_path("sites"), json={"pool": pool}, headers=bearer(api.session())).status_code
            for api in apis * 2
        ]

    assert statuses("nowhere") == [409] * 8
    assert statuses("north") == [201] * 4 + [429] * 4
    assert statuses("south") == [201] * 4 + [429] * 4
    for api in apis:
        api.close()


def uncounted(node: Server) -> float:
    text = httpx2.get(f"{node.console_url}/metrics").text
    lines = (line for line in text.splitlines() if line.startswith("headgate_uncounted_requests_total"))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_without_the_gate_everybody_is_served_and_it_is_counted_again_when_it_is_back(
    fleet: list[Server], gate: Valkey
) -> None:
    node = fleet[0]
    with Api(node.url, source="127.0.0.4") as api:
        assert [api.request("GET", f"/c/{SLUG}").status_code for _ in range(LIMIT + 1)][-1] == 429
        gate.kill()
        started = time.monotonic()
        assert {api.request("GET", f"/c/{SLUG}").status_code for _ in range(LIMIT * 2)} == {200}
        assert time.monotonic() - started < 10, "nobody waits for a gate that is away"
        eventually("the open limit is in the metrics", lambda: uncounted(node) >= LIMIT * 2)
        node.end()
        node.start()
        assert "gate_away" in node.log(), "a node starts without it, and says so"
        gate.again()
        eventually(
            "it is counted again",
            lambda: 429 in {api.request("GET", f"/c/{SLUG}").status_code for _ in range(LIMIT * 2)},
        )
