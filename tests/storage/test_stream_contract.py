"""What every stream promises: the simulated one, one server, and a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headgate.domain.event import BEGINNING, Event, EventKind, Position
from headgate.lab.simulation.receiver import SimulatedReceiver
from headgate.ports.destination import Destination, NotDelivered, Place
from headgate.storage.redis import stream as redis_stream
from headgate.storage.redis.address import GateAddress, parse
from headgate.storage.redis.client import connect
from headgate.storage.redis.stream import KEY, RedisStream
from tests.servers import free_port

STREAMS = ("simulated", "valkey", "cluster")


def event(row: int, offset: int = 0, kind: EventKind = EventKind.CONFIRMED) -> Event:
    return Event(Position(row, offset), kind, 1_796_097_600_000 + row, f"{row:015x}{offset:015x}", "masks", "central")


@pytest.fixture(params=STREAMS)
def stream(request: pytest.FixtureRequest, gate_of: Callable[[str], GateAddress]) -> Iterator[Destination]:
    if request.param == "simulated":
        yield SimulatedReceiver("stream", accounts=True)
        return
    made = RedisStream(gate_of(request.param))
    yield made
    made.close()


@pytest.fixture(params=STREAMS[1:])
def address(request: pytest.FixtureRequest, gate_of: Callable[[str], GateAddress]) -> GateAddress:
    return gate_of(request.param)


@pytest.fixture
def client(address: GateAddress) -> Iterator[Any]:
    opened = connect(address)
    yield opened
    opened.close()


def test_a_stream_that_is_not_there_is_at_the_beginning(stream: Destination) -> None:
    assert stream.place() == Place(BEGINNING, "")


def test_it_says_how_far_it_has_come_and_with_which_event(stream: Destination) -> None:
    assert stream.deliver(BEGINNING, [event(1), event(1, 1), event(3)])
    assert stream.place() == Place(Position(3, 0), event(3).id)
    assert stream.deliver(Position(3, 0), [event(3, 1)])
    assert stream.place() == Place(Position(3, 1), event(3, 1).id)


@pytest.mark.parametrize("after", [BEGINNING, Position(1, 1), Position(2, 0), Position(3, 1), Position(9, 0)])
def test_nothing_is_taken_from_another_place(stream: Destination, after: Position) -> None:
    stream.deliver(BEGINNING, [event(1), event(3)])
    assert not stream.deliver(after, [event(10)])
    assert stream.place() == Place(Position(3, 0), event(3).id)


def test_the_same_twice_is_taken_once(stream: Destination) -> None:
    page = [event(1), event(2)]
    assert stream.deliver(BEGINNING, page)
    assert not stream.deliver(BEGINNING, page)
    assert stream.place() == Place(Position(2, 0), event(2).id)


def test_a_whole_page_at_once(stream: Destination) -> None:
    page = [event(1, offset) for offset in range(stream.page)]
    assert stream.deliver(BEGINNING, page)
    assert stream.place() == Place(page[-1].position, page[-1].id)


def test_entries_are_events_under_their_positions(address: GateAddress, client: Any) -> None:
    stream = RedisStream(address)
    stream.deliver(BEGINNING, [event(1), event(2, 7, EventKind.CANCELLED)])
    (_, first), (place, second) = client.xrange(KEY)
    assert place == b"2-7"
    assert json.loads(second[b"event"]) == {
        "id": f"{event(2, 7).claim_id}.cancelled",
        "type": "claim.cancelled",
        "at": "2026-12-01T04:00:00.002Z",
        "campaign": "masks",
        "claim": {"id": event(2, 7).claim_id, "pool": "central", "status": "cancelled"},
        "position": "2-7",
    }
    assert json.loads(first[b"event"])["type"] == "claim.confirmed"
    stream.close()


def test_after_an_erasure_it_is_at_the_beginning_and_filled_again(address: GateAddress, client: Any) -> None:
    stream = RedisStream(address)
    stream.deliver(BEGINNING, [event(1), event(2)])
    client.flushall()
    assert not stream.deliver(Position(2, 0), [event(3)])
    assert stream.place() == Place(BEGINNING, "")
    assert stream.deliver(BEGINNING, [event(1), event(2), event(3)])
    assert client.xlen(KEY) == 3
    stream.close()


def test_what_readers_and_operators_do_to_it_changes_no_place(address: GateAddress, client: Any) -> None:
    stream = RedisStream(address)
    client.xgroup_create(KEY, "shop", id="0", mkstream=True)
    assert stream.place() == Place(BEGINNING, "")
    stream.deliver(BEGINNING, [event(1), event(2)])
    client.xdel(KEY, "2-0")
    assert stream.place() == Place(Position(2, 0), "")
    client.xtrim(KEY, maxlen=0)
    assert stream.place() == Place(Position(2, 0), "")
    assert stream.deliver(Position(2, 0), [event(3)])
    client.xadd(KEY, {"by": "hand"})
    place = stream.place()
    assert place is not None
    assert place.event_id == ""
    stream.close()


def test_only_so_many_events_are_kept(address: GateAddress, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_stream, "EVENTS_MAX", 200)
    stream = RedisStream(address)
    after = BEGINNING
    for row in range(1, 30):
        page = [event(row, offset) for offset in range(50)]
        assert stream.deliver(after, page)
        after = page[-1].position
    # About: whole nodes of the server's are removed.
    assert 200 <= client.xlen(KEY) <= 400
    assert stream.place() == Place(after, page[-1].id)
    stream.close()


def test_a_key_that_is_no_stream_is_said_and_left_alone(address: GateAddress, client: Any) -> None:
    client.set(KEY, "x")
    stream = RedisStream(address)
    for ask in (stream.place, lambda: stream.deliver(BEGINNING, [event(1)])):
        with pytest.raises(NotDelivered, match="WRONGTYPE"):
            ask()
    assert client.get(KEY) == b"x"
    stream.close()


def test_a_server_that_is_away_says_so_without_its_password() -> None:
    stream = RedisStream(parse(f"redis://:sekret@127.0.0.1:{free_port()}"))
    for ask in (stream.place, lambda: stream.deliver(BEGINNING, [event(1)])):
        with pytest.raises(NotDelivered, match="cannot be used") as found:
            ask()
        assert "sekret" not in str(found.value)
    stream.close()
