"""What every shared gate promises: the simulated one, one server, and a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from headgate.lab.simulation.shared_gate import SimulatedGate
from headgate.ports.gate import GateAway
from headgate.ports.ledger import LedgerUnavailable
from headgate.ports.shared_gate import NOWHERE, SharedGate
from headgate.storage.redis.address import GateAddress, parse
from headgate.storage.redis.gate import RedisGate
from tests.servers import Server, free_port

CAMPAIGN = 7


def person(number: int) -> bytes:
    return number.to_bytes(16, "big")


@pytest.fixture(params=["simulated", "valkey", "cluster"])
def gate(request: pytest.FixtureRequest, gate_of: Callable[[str], GateAddress]) -> Iterator[SharedGate]:
    if request.param == "simulated":
        yield SimulatedGate()
        return
    made = RedisGate(gate_of(request.param), ledger_id=lambda: 1)
    yield made
    made.close()


def test_a_gate_that_nobody_has_filled_knows_nothing_and_says_so(gate: SharedGate) -> None:
    assert gate.seen(CAMPAIGN, [person(1), person(2)]) == (NOWHERE, [False, False])
    assert gate.place(CAMPAIGN) == NOWHERE


def test_it_knows_whom_it_was_told_about_up_to_there(gate: SharedGate) -> None:
    assert gate.follow(CAMPAIGN, NOWHERE, 10, [person(1), person(3)])
    assert gate.seen(CAMPAIGN, [person(1), person(2), person(3)]) == (10, [True, False, True])
    assert gate.follow(CAMPAIGN, 10, 12, [person(2)])
    assert gate.seen(CAMPAIGN, [person(1), person(2), person(4)]) == (12, [True, True, False])


def test_a_place_without_anybody_is_a_place_too(gate: SharedGate) -> None:
    assert gate.follow(CAMPAIGN, NOWHERE, 0, [])
    assert gate.seen(CAMPAIGN, [person(1)]) == (0, [False])
    assert gate.follow(CAMPAIGN, 0, 5, [])
    assert gate.place(CAMPAIGN) == 5


@pytest.mark.parametrize("after", [NOWHERE, 3, 11])
def test_nothing_is_taken_over_from_another_place(gate: SharedGate, after: int) -> None:
    gate.follow(CAMPAIGN, NOWHERE, 10, [person(1)])
    assert not gate.follow(CAMPAIGN, after, 20, [person(2)])
    assert gate.seen(CAMPAIGN, [person(1), person(2)]) == (10, [True, False])


def test_the_same_twice_changes_nothing(gate: SharedGate) -> None:
    assert gate.follow(CAMPAIGN, NOWHERE, 10, [person(1)])
    assert not gate.follow(CAMPAIGN, NOWHERE, 10, [person(1)])
    assert gate.seen(CAMPAIGN, [person(1)]) == (10, [True])


def test_campaigns_have_nothing_to_do_with_each_other(gate: SharedGate) -> None:
    gate.follow(CAMPAIGN, NOWHERE, 10, [person(1)])
    assert gate.seen(CAMPAIGN + 1, [person(1)]) == (NOWHERE, [False])
    gate.erase(CAMPAIGN + 1)
    assert gate.place(CAMPAIGN) == 10


def test_after_an_erasure_it_begins_anew(gate: SharedGate) -> None:
    gate.follow(CAMPAIGN, NOWHERE, 10, [person(1)])
    gate.erase(CAMPAIGN)
    assert gate.seen(CAMPAIGN, [person(1)]) == (NOWHERE, [False])
    assert gate.follow(CAMPAIGN, NOWHERE, 4, [person(2)])


def test_thousands_at_once(gate: SharedGate) -> None:
    everybody = [person(number) for number in range(5_000)]
    assert gate.follow(CAMPAIGN, NOWHERE, 5_000, everybody)
    assert gate.seen(CAMPAIGN, everybody).known == [True] * 5_000
    assert gate.seen(CAMPAIGN, [person(5_000), person(0)]).known == [False, True]


def test_ledgers_that_share_a_server_do_not_see_each_other(gate_of: Callable[[str], GateAddress]) -> None:
    address = gate_of("valkey")
    first, second = RedisGate(address, lambda: 1), RedisGate(address, lambda: 2)
    first.follow(CAMPAIGN, NOWHERE, 10, [person(1)])
    assert second.seen(CAMPAIGN, [person(1)]) == (NOWHERE, [False])
    for made in (first, second):
        made.close()


def test_a_ledger_that_is_away_when_the_gate_is_first_used_is_asked_again(valkey_server: Server) -> None:
    answers: list[int | LedgerUnavailable] = [LedgerUnavailable("away"), 7]

    def which() -> int:
        answer = answers.pop(0)
        if isinstance(answer, LedgerUnavailable):
            raise answer
        return answer

    gate = RedisGate(parse(valkey_server.url), which)
    with pytest.raises(LedgerUnavailable):
        gate.place(1)
    assert (gate.place(1), gate.place(1)) == (NOWHERE, NOWHERE)
    gate.close()


def test_place_and_persons_share_one_key_that_ends_by_itself(valkey_server: Server) -> None:
    gate = RedisGate(parse(valkey_server.url), lambda: 3)
    gate.erase(CAMPAIGN)
    gate.follow(CAMPAIGN, NOWHERE, 10, [person(1)])
    client = redis.Redis.from_url(valkey_server.url)
    (key,) = client.keys("headgate:3:*")
    assert 0 < client.pttl(key) <= 86_400_000
    client.close()
    gate.close()


def test_a_gate_that_is_away_says_so_and_is_asked_again() -> None:
    gate = RedisGate(parse(f"redis://:sekret@127.0.0.1:{free_port()}"), lambda: 1)
    for _ in range(2):
        with pytest.raises(GateAway, match="cannot be used") as found:
            gate.seen(CAMPAIGN, [person(1)])
        assert "sekret" not in str(found.value)
    gate.close()
