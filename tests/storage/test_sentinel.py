"""A gate that sentinels watch over: its primary dies, and the replica is found by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from headgate.ports.gate import GateAway
from headgate.ports.shared_gate import NOWHERE
from headgate.storage.redis.address import parse
from headgate.storage.redis.examination import examine
from headgate.storage.redis.gate import RedisGate
from tests.servers import valkey_sentinel
from tests.storage.test_redis_limits import BACK_S, Node

PERSON = b"p" * 16


def test_limits_and_gate_go_on_with_the_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.storage.redis.lanes.AWAY_S", 0.05)
    with valkey_sentinel(tmp_path) as watched:
        assert "a call takes" in examine(parse(watched.url))
        node, gate = Node(parse(watched.url)), RedisGate(parse(watched.url), lambda: 1)
        assert [node.ask() > 0 for _ in range(4)] == [False, False, False, True]
        assert gate.follow(1, NOWHERE, 5, [PERSON])
        watched.primary.kill()
        assert node.ask() == 0, "open while it is away"
        node.ask_until_counted()
        deadline = time.monotonic() + BACK_S
        while True:
            try:
                place = gate.place(1)
                break
            except GateAway:
                assert time.monotonic() < deadline
        # What the replica had got is there, or none of it: place and persons are one.
        assert gate.seen(1, [PERSON]) in ((5, [True]), (NOWHERE, [False]))
        assert place in (5, NOWHERE)
        assert gate.follow(1, place, 9, [])
        gate.close()
        node.close()


def test_a_service_that_the_sentinels_do_not_know_is_named(tmp_path: Path) -> None:
    with (
        valkey_sentinel(tmp_path) as watched,
        pytest.raises(GateAway, match="'other'"),
    ):
        examine(parse(watched.url.replace("/shared", "/other")))
