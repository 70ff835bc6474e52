"""A ledger told to a real stream that is erased, and whose primary dies, in the middle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions

from headgate.services.relaying import Relay, Tenure
from headgate.storage.redis.address import GateAddress, parse
from headgate.storage.redis.client import AWAY, connect
from headgate.storage.redis.stream import KEY, RedisStream
from headgate.storage.sql.outbox import SqlOutbox
from tests.fakes import SeededEntropy
from tests.servers import valkey_cluster
from tests.storage.test_outbox_contract import OutboxHouse

BACK_S = 30.0


class Told:
    """A ledger, a relay of it, and somebody who reads the stream along."""

    def __init__(self, directory: Path, address: GateAddress) -> None:
        self.house = OutboxHouse(directory / "ledger.db")
        self.house.campaigns.topup("masks", "b", 245, actor="test")
        tenure = Tenure(lambda: 0.0)
        tenure.extend(1.0)
        self.address = address
        self.relay = Relay(SqlOutbox(self.house.engine), RedisStream(address), tenure, SeededEntropy())
        self.client: Any = connect(address)
        self._persons = iter(range(1, 250))
        self._read_up_to = "0-0"
        self.read: list[str] = []

    def grant(self, persons: int) -> None:
        self.house.grant(*(next(self._persons) for _ in range(persons)))

    def tell(self) -> None:
        """Until everything has been told, and the pauses after failures left out."""
        deadline = time.monotonic() + BACK_S
        while True:
            pause_s = self.relay.step()
            if 0.0 < pause_s < 1.0:
                return
            assert time.monotonic() < deadline, "the stream is not told any more"

    def look(self) -> None:
        """As a reader does that remembers where it was."""
        for entry_id, fields in self.client.xrange(KEY, min=f"({self._read_up_to}"):
            self._read_up_to = entry_id.decode()
            self.read.append(json.loads(fields[b"event"])["id"])

    @property
    def there(self) -> list[str]:
        return [json.loads(fields[b"event"])["id"] for _, fields in self.client.xrange(KEY)]

    @property
    def committed(self) -> list[str]:
        return [event.id for event in self.house.told()]

    def close(self) -> None:
        self.client.close()
        self.relay.stop()
        self.house.close()


@pytest.mark.parametrize("kind", ["valkey", "cluster"])
def test_an_erased_stream_is_filled_again_and_its_readers_miss_nothing(
    tmp_path: Path, gate_of: Callable[[str], GateAddress], kind: str
) -> None:
    told = Told(tmp_path, gate_of(kind))
    for turn in range(6):
        told.grant(5)
        if turn == 3:
            # What the reader saw, and what it did not see yet.
            told.tell()
            told.client.flushall()
        if turn % 2:
            told.tell()
            told.look()
    told.client.flushall()
    told.tell()
    told.look()
    assert told.there == told.committed
    assert told.read == told.committed
    told.close()


def test_the_primary_of_a_stream_dies_and_its_replica_is_told_what_it_lacks(tmp_path: Path) -> None:
    with valkey_cluster(tmp_path) as cluster:
        told = Told(tmp_path, parse(cluster.url))
        told.grant(20)
        told.tell()
        told.look()
        owner = told.client.get_node_from_key(KEY)
        (primary,) = [server for server in cluster.primaries if server.url.endswith(f":{owner.port}")]
        told.grant(20)
        primary.kill()
        told.tell()
        told.client.close()
        told.client = _connected(told.address)
        told.look()
        assert told.there == told.committed
        assert told.read == told.committed
        told.close()


def _connected(address: GateAddress) -> Any:
    deadline = time.monotonic() + BACK_S
    while True:
        client: Any = connect(address)
        try:
            client.xlen(KEY)
        except (*AWAY, redis.exceptions.RedisError):
            client.close()
            assert time.monotonic() < deadline
        else:
            return client
