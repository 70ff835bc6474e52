"""The per-address limit: 200 requests a minute by default, exact, and not fooled by what a client writes.

Each test claims from an address of its own (127.0.0.x); its session comes from another one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.client import Api, bearer, claims_path, refused
from tests.acceptance.product import Server, create_campaign, served

LIMIT = 200
FORGED = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "Via")
_addresses = itertools.count(10)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Four workers, which have to count together."""
    data = tmp_path_factory.mktemp("limited") / "data"
    create_campaign(data, "masks", (("central", 100_000),))
    with served(data, workers=4, settings={"HEADGATE_LIMITS__PER_IP_PER_MINUTE": str(LIMIT)}) as running:
        yield running


def session_from_elsewhere(house: Server) -> str:
    with Api(house.url, source=f"127.0.1.{next(_addresses)}") as other:
        return other.session()


def claims_from(house: Server, source: str, count: int, *, forge: bool = False) -> Counter[int]:
    """Statuses of `count` claims one after the other from one address, on a new connection after every fifth.

    Every 429 is checked.
    """
    token, statuses = session_from_elsewhere(house), Counter[int]()
    for first in range(0, count, 5):
        with Api(house.url, source=source) as api:
            for n in range(first, min(first + 5, count)):
                headers = bearer(token)
                if forge:
                    address = f"203.0.{n // 250}.{n % 250}"
                    headers |= {name: f"for={address}" if name == "Forwarded" else address for name in FORGED}
                answer = api.request("POST", claims_path("masks"), json={"pool": "central"}, headers=headers)
                statuses[answer.status_code] += 1
                if answer.status_code == 429:
                    refused(answer, 429, "rate_limited")
                    wait_s = int(answer.headers["retry-after"])
                    assert 1 <= wait_s <= 60, f"Retry-After: {wait_s}"
    return statuses


def test_exactly_200_of_300_are_admitted(house: Server) -> None:
    statuses = claims_from(house, "127.0.0.2", 300)
    assert statuses == {201: 1, 200: 199, 429: 100}, statuses


def test_forged_headers_do_not_evade_the_limit(house: Server) -> None:
    statuses = claims_from(house, "127.0.0.3", 300, forge=True)
    assert statuses == {201: 1, 200: 199, 429: 100}, statuses


def test_forged_headers_do_not_use_up_the_limit_of_another(house: Server) -> None:
    token = session_from_elsewhere(house)
    with Api(house.url, source="127.0.0.4") as api:
        for _ in range(LIMIT + 20):
            headers = bearer(token) | {"X-Forwarded-For": "127.0.0.5"}
            api.request("POST", claims_path("masks"), json={"pool": "central"}, headers=headers)
    assert claims_from(house, "127.0.0.5", 5) == {201: 1, 200: 4}


def test_sessions_count_too(house: Server) -> None:
    """Otherwise an address makes itself as many people as it likes."""
    with Api(house.url, source="127.0.0.6") as api:
        statuses = Counter(api.request("POST", "/api/v1/sessions").status_code for _ in range(LIMIT + 50))
    assert statuses == {201: LIMIT, 429: 50}, statuses


def test_health_is_never_limited(house: Server) -> None:
    claims_from(house, "127.0.0.7", LIMIT + 5)
    with Api(house.url, source="127.0.0.7") as api:
        for path in ("/livez", "/readyz"):
            assert {api.request("GET", path).status_code for _ in range(LIMIT + 50)} == {200}


def test_the_default_is_200_and_outlives_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_campaign(data, "masks", (("central", 100_000),))
    server = Server(data, workers=2, defaults=("HEADGATE_LIMITS__PER_IP_PER_MINUTE",))
    try:
        server.start()
        assert claims_from(server, "127.0.0.8", 210) == {201: 1, 200: 199, 429: 10}
        server.terminate()
        server.start()
        assert claims_from(server, "127.0.0.8", 5) == {429: 5}, "a restart forgot the limit"
    finally:
        server.end()


def test_a_trusted_proxy_names_the_client_by_the_rightmost_hop(tmp_path: Path) -> None:
    data, config = tmp_path / "data", tmp_path / "headgate.toml"
    create_campaign(data, "masks", (("central", 100_000),))
    config.write_text('trusted_proxies = ["127.0.0.9"]\n[limits]\nper_ip_per_minute = 20\n')
    server = Server(data, extra=("--config", str(config)), defaults=("HEADGATE_LIMITS__PER_IP_PER_MINUTE",))
    try:
        server.start()
        with Api(server.url, source="127.0.0.9") as api:

            def admitted(client: str, count: int) -> int:
                found = 0
                for n in range(count):
                    forwarded = {"X-Forwarded-For": f"198.51.100.{n}, {client}"}
                    found += api.request("POST", "/api/v1/sessions", headers=forwarded).status_code == 201
                return found

            assert admitted("203.0.113.1", 30) == 20, "the leftmost, forged hop was believed"
            assert admitted("203.0.113.2", 30) == 20, "another client behind the proxy shares the limit"
            lines = [(("X-Forwarded-For", f"198.51.100.{n}"), ("X-Forwarded-For", "203.0.113.3")) for n in range(30)]
            found = [api.request("POST", "/api/v1/sessions", headers=pair).status_code for pair in lines]
            assert found.count(201) == 20, "a line that the client wrote above the proxy's was believed"
    finally:
        server.end()
