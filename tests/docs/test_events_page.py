"""What docs/reference/events.md says about events is so, and its examples do what they say."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from headgate.domain.event import BEGINNING, Event, EventKind, Position
from headgate.messaging.webhooks import Webhook
from headgate.services.event_documents import EventClaim, EventDocument, document
from headgate.storage.redis.address import parse
from headgate.storage.redis.stream import RedisStream
from tests.docs.test_docs import REFERENCE, names
from tests.fakes import HandClock
from tests.receiver import Receiver
from tests.servers import Server, valkey

PAGE = (REFERENCE / "events.md").read_text()
SECRET = f"whsec_{base64.b64encode(b's' * 32).decode()}"
EVENTS = [
    Event(Position(17, 3), EventKind.CONFIRMED, 1_796_097_600_123, "1" * 30, "masks", "central"),
    Event(Position(18, 0), EventKind.CANCELLED, 1_796_097_600_456, "1" * 30, "masks", "central"),
]


def example(function: str) -> Any:
    """The function of that name, out of the page."""
    (block,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
        if f"def {function}(" in block
    )
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    return namespace[function]


def test_every_field_type_and_header_is_on_the_page() -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert json.loads(shown).keys() == set(EventDocument.__struct_fields__)
    assert json.loads(shown)["claim"].keys() == set(EventClaim.__struct_fields__)
    documented = names(PAGE)
    headers = ["webhook-id", "webhook-timestamp", "webhook-signature"]
    assert documented == [*EventDocument.__struct_fields__, *EventKind, *headers]
    assert msgspec.to_builtins(document(EVENTS[0])).keys() == json.loads(shown).keys()


@pytest.fixture
def delivered() -> Iterator[Any]:
    clock = HandClock()
    with Receiver() as receiver:
        webhook = Webhook("shop", receiver.url, [b"s" * 32], clock)
        webhook.deliver(BEGINNING, EVENTS)
        webhook.close()
        yield receiver.requests[0], clock.ms / 1000


def test_the_example_tells_a_genuine_request_from_others(delivered: Any) -> None:
    got, now_s = delivered
    is_genuine = example("is_genuine")
    assert is_genuine(got.headers, got.body, SECRET, now_s)
    assert not is_genuine(got.headers, got.body.replace(b"central", b"Central"), SECRET, now_s)
    assert not is_genuine(got.headers, got.body, f"whsec_{base64.b64encode(b't' * 32).decode()}", now_s)
    assert not is_genuine(got.headers | {"webhook-id": "batch_0"}, got.body, SECRET, now_s)
    assert not is_genuine(got.headers, got.body, SECRET, now_s + 301)


def test_the_example_has_each_effect_once(delivered: Any) -> None:
    got, _ = delivered
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE seen (event_id PRIMARY KEY)")
    effects: list[str] = []
    for _ in range(3):
        example("take_in")(database, got.body, lambda _, event: effects.append(event["id"]))
    assert effects == [event.id for event in EVENTS]
    database.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with valkey(tmp_path) as started:
        yield started


def test_the_example_reads_on_through_an_erasure(server: Server) -> None:
    stream = RedisStream(parse(server.url))
    client = redis.Redis.from_url(server.url)
    read_on = example("read_on")
    seen: list[str] = []
    stream.deliver(BEGINNING, EVENTS[:1])
    last_id = read_on(client, "0-0", lambda event: seen.append(event["id"]))
    client.flushall()
    stream.deliver(BEGINNING, EVENTS)
    last_id = read_on(client, last_id, lambda event: seen.append(event["id"]))
    assert read_on(client, last_id, seen.append) == last_id == "18-0"
    assert seen == [event.id for event in EVENTS]
    client.close()
    stream.close()
