"""Events on a real NATS server, which dies, is full, keeps others out, or has no JetStream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats as nats_client
import pytest
from nats.js.api import DiscardPolicy, StreamConfig

from headgate.domain.event import BEGINNING, Event, EventKind, Position
from headgate.messaging import jetstream
from headgate.messaging.jetstream import STREAM, JetStream
from headgate.ports.destination import NotDelivered
from tests.replication import frozen
from tests.servers import Server, free_port, nats

SECRET = "hush-hush"


def event(row: int, offset: int = 0, kind: EventKind = EventKind.CONFIRMED) -> Event:
    return Event(Position(row, offset), kind, 1_796_097_600_000 + row, f"{row:015x}{offset:015x}", "masks", "central")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with nats(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def told(server: Server) -> Iterator[JetStream]:
    made = JetStream(server.url, "")
    yield made
    made.close()


def ask(server: Server, question: Callable[[Any], Any]) -> Any:
    """What `question` gets from the server's JetStream, by a client of its own."""

    async def asked() -> Any:
        client = await nats_client.connect(server.url)
        try:
            return await question(client.jetstream())
        finally:
            await client.close()

    return asyncio.run(asked())


def messages(server: Server, name: str = STREAM) -> list[Any]:
    async def read(stream: Any) -> list[Any]:
        count = (await stream.stream_info(name)).state.messages
        return [await stream.get_msg(name, seq) for seq in range(1, count + 1)]

    found: list[Any] = ask(server, read)
    return found


def ids(server: Server) -> list[str]:
    return [json.loads(message.data)["id"] for message in messages(server)]


def test_events_are_messages_of_a_stream_that_is_made_for_them(server: Server, told: JetStream) -> None:
    assert told.deliver(BEGINNING, [event(1), event(2, 7, EventKind.CANCELLED)])
    first, second = messages(server)
    assert first.subject == "headgate.events.claim.confirmed"
    assert second.subject == "headgate.events.claim.cancelled"
    assert second.headers["Nats-Msg-Id"] == event(2, 7, EventKind.CANCELLED).id
    assert json.loads(second.data) == {
        "id": f"{event(2, 7).claim_id}.cancelled",
        "type": "claim.cancelled",
        "at": "2026-12-01T04:00:00.002Z",
        "campaign": "masks",
        "claim": {"id": event(2, 7).claim_id, "pool": "central", "status": "cancelled"},
        "position": "2-7",
    }
    config = ask(server, lambda stream: stream.stream_info(STREAM)).config
    assert (config.subjects, config.max_age) == (["headgate.events.>"], jetstream.KEPT_S)


def test_what_comes_twice_is_there_once(server: Server, told: JetStream) -> None:
    page = [event(1, offset) for offset in range(told.page)]
    for _ in range(2):
        assert told.deliver(BEGINNING, page)
    # As by another keeper, which has not heard of it.
    other = JetStream(server.url, "")
    assert other.deliver(BEGINNING, [*page[-3:], event(2)])
    assert ids(server) == [each.id for each in [*page, event(2)]]
    other.close()


def test_a_stream_of_the_user_is_used_as_it_is(server: Server, told: JetStream) -> None:
    ask(server, lambda stream: stream.add_stream(StreamConfig(name="everything", subjects=["headgate.>", "shop.>"])))
    told.deliver(BEGINNING, [event(1)])
    assert len(messages(server, "everything")) == 1
    assert [info.config.name for info in ask(server, lambda stream: stream.streams_info())] == ["everything"]


def test_a_server_that_dies_has_everything_afterwards_and_once(server: Server, told: JetStream) -> None:
    pages = [[event(row, offset) for offset in range(3)] for row in range(1, 5)]
    told.deliver(BEGINNING, pages[0])
    server.kill()
    with pytest.raises(NotDelivered, match="it cannot be reached"):
        told.deliver(pages[0][-1].position, pages[1])
    server.again()
    for page in pages:
        told.deliver(BEGINNING, page)
    assert sorted(ids(server)) == sorted(each.id for page in pages for each in page)


def test_a_server_that_hangs_holds_nobody_up_for_ever(
    server: Server, told: JetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.deliver(BEGINNING, [event(1)])
    monkeypatch.setattr(jetstream, "ANSWER_S", 0.3)
    with frozen(server), pytest.raises(NotDelivered, match=r"it did not answer within 0\.3 s"):
        told.deliver(BEGINNING, [event(2)])
    monkeypatch.undo()
    told.deliver(BEGINNING, [event(2), event(3)])
    assert ids(server) == [event(number).id for number in (1, 2, 3)]


def test_a_connection_that_was_not_used_for_long_is_made_anew(told: JetStream, monkeypatch: pytest.MonkeyPatch) -> None:
    told.deliver(BEGINNING, [event(1)])
    before = told._client
    told.deliver(BEGINNING, [event(2)])
    assert told._client is before
    monkeypatch.setattr(jetstream, "IDLE_S", 0.0)
    told.deliver(BEGINNING, [event(3)])
    assert told._client is not before


def test_a_stream_that_is_full_says_so(server: Server, told: JetStream) -> None:
    full = StreamConfig(name="small", subjects=["headgate.events.>"], max_msgs=2, discard=DiscardPolicy.NEW)
    ask(server, lambda stream: stream.add_stream(full))
    told.deliver(BEGINNING, [event(1), event(2)])
    with pytest.raises(NotDelivered, match="its stream does not take events: maximum messages exceeded"):
        told.deliver(BEGINNING, [event(3)])


def test_a_server_without_jetstream_and_one_that_is_not_there_say_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    with nats(tmp_path_factory.mktemp("plain"), jetstream=False) as plain:
        told = JetStream(plain.url, "")
        with pytest.raises(NotDelivered, match="JetStream"):
            told.deliver(BEGINNING, [event(1)])
        with pytest.raises(NotDelivered, match="JetStream"):
            told.reach()
        told.close()
    nowhere = JetStream(f"nats://127.0.0.1:{free_port()}", "")
    with pytest.raises(NotDelivered, match="it cannot be reached"):
        nowhere.deliver(BEGINNING, [event(1)])
    with pytest.raises(NotDelivered, match="it cannot be reached"):
        nowhere.reach()
    nowhere.close()


def test_a_look_changes_nothing_and_what_follows_is_told(server: Server, told: JetStream) -> None:
    told.reach()
    assert ask(server, lambda stream: stream.streams_info()) == []
    told.deliver(BEGINNING, [event(1)])
    told.reach()
    told.deliver(BEGINNING, [event(2)])
    assert len(messages(server)) == 2


@pytest.mark.parametrize("kind", ["password", "token"])
def test_whoever_has_the_secret_is_let_in(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, kind: str) -> None:
    options = ("--user", "headgate", "--pass", SECRET) if kind == "password" else ("--auth", SECRET)
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    prefix = "headgate:" if kind == "password" else ""
    right.write_text(f"{prefix}{SECRET}\n")
    wrong.write_text(f"{prefix}{SECRET}-not\n")
    with nats(tmp_path_factory.mktemp("closed"), *options) as closed:
        for secret_file in ("", str(wrong), str(tmp_path / "absent")):
            kept_out = JetStream(closed.url, secret_file)
            with pytest.raises(NotDelivered, match="it cannot be reached") as said:
                kept_out.deliver(BEGINNING, [event(1)])
            assert SECRET not in str(said.value)
            kept_out.close()
        let_in = JetStream(closed.url, str(right))
        assert let_in.deliver(BEGINNING, [event(1)])
        let_in.close()
