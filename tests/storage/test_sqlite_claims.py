"""The batch transaction on a real SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from headgate.domain.claim import Claim, ClaimRequest, Granted
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.domain.outcome import KEY_REUSED, Refusal
from headgate.ports.ledger import LedgerBroken, LedgerDamaged, LedgerUnavailable
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.integrity import check_file
from headgate.storage.sql.migrating import newest
from headgate.storage.sql.schema import METADATA, SCHEMA_VERSION
from headgate.storage.sql.sqlite_claims import SqliteClaims
from tests.fakes import HandClock, SeededEntropy


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


class House:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = HandClock()
        self.engine = open_engine(path)
        upgrade(self.engine)
        self.campaigns = SqlCampaigns(self.engine, self.clock)
        self.campaign = self.campaigns.create(
            CampaignDefinition(
                "masks",
                {"en": "Masks"},
                at(self.clock.ms - 1_000),
                at(self.clock.ms + 1_000),
                pools=[PoolDefinition("a", 2), PoolDefinition("b", 5)],
            ),
            actor="test",
        )
        self.claims = self.connect()

    def connect(self) -> SqliteClaims:
        return SqliteClaims(self.path, self.clock, SeededEntropy())

    def request(self, person: int, pool: int = 0) -> ClaimRequest:
        return ClaimRequest(self.campaign.id, self.campaign.pools[pool].id, bytes([person]) * 16)

    def ask(self, *requests: ClaimRequest, fresh: bool = True) -> list[Granted | Refusal]:
        return self.claims.confirm(requests, [fresh] * len(requests)).decisions

    def close(self) -> None:
        self.claims.close()
        self.engine.dispose()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path / "ledger.db")
    yield built
    built.close()


def claim_of(decision: Granted | Refusal | Claim) -> Claim:
    if isinstance(decision, Granted):
        return decision.claim
    assert isinstance(decision, Claim), decision
    return decision


def test_changes_by_others_are_noticed_and_own_ones_are_not(house: House) -> None:
    assert house.claims.changed()
    house.ask(house.request(1))
    assert not house.claims.changed()
    house.campaigns.topup("masks", "a", 3, actor="test")
    assert house.claims.changed()


def test_a_held_write_lock_means_unavailable_and_nothing_written(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.claims._connection.execute("PRAGMA busy_timeout = 1")
    blocker = sqlite3.connect(house.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="nothing was written"):
        house.ask(house.request(1))
    blocker.execute("ROLLBACK")
    blocker.close()
    assert isinstance(house.ask(house.request(1))[0], Granted)


def test_a_failed_sync_is_in_doubt_and_never_tried_again(house: House) -> None:
    real = house.claims._connection

    class FailsToCommit:
        in_transaction = False

        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            if statement == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = 10 | (4 << 8)
                raise error
            return real.execute(statement, *parameters)

        executemany = staticmethod(real.executemany)

    house.claims._connection = FailsToCommit()  # type: ignore[assignment]
    with pytest.raises(LedgerBroken, match="in doubt"):
        house.ask(house.request(1))
    real.execute("ROLLBACK")
    house.claims._connection = real


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(LedgerDamaged, match=r"ledger\.db is no readable SQLite database"):
        check_file(path)


def test_damaged_pages_are_named(house: House) -> None:
    for start in range(200):
        house.ask(house.request(start % 250, 1))
    house.claims._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    house.close()
    content = bytearray(house.path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 + 8 : page * 4096 + 64] = b"\xff" * 56
    house.path.write_bytes(content)
    with pytest.raises(LedgerDamaged, match=r"damaged|no readable"):
        check_file(house.path)


def test_the_schema_is_what_the_migrations_make(house: House) -> None:
    assert newest() == SCHEMA_VERSION
    with house.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_batch_with_and_without_keys_keeps_every_claim_and_every_key(house: House) -> None:
    pool = house.campaign.pools[1].id
    keys = {1: None, 2: (b"k" * 16, b"x" * 16), 3: None, 4: (b"l" * 16, b"y" * 16)}
    batch = [ClaimRequest(house.campaign.id, pool, bytes([person]) * 16, *(key or ())) for person, key in keys.items()]
    granted = house.ask(*batch)
    assert [answer.claim.seq for answer in granted if isinstance(answer, Granted)] == [1, 2, 3, 4]
    with sqlite3.connect(house.path) as ledger:
        rows = ledger.execute("SELECT person, key_digest, body_digest FROM claim ORDER BY seq").fetchall()
    assert rows == [(bytes([person]) * 16, *(key or (None, None))) for person, key in keys.items()]
    other_body = ClaimRequest(house.campaign.id, pool, batch[1].person, b"k" * 16, b"z" * 16)
    assert house.ask(other_body, fresh=False) == [KEY_REUSED]
