"""A ledger on any engine, with a campaign and people who ask."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from headgate.domain.campaign import Control, Mode
from headgate.domain.claim import Claim, ClaimRequest, Granted
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.domain.outcome import Refusal
from headgate.ports.ledger import ClaimLedger
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.server_claims import ServerClaims
from headgate.storage.sql.sqlite_claims import SqliteClaims
from tests.fakes import HandClock, SeededEntropy


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


class House:
    """A ledger with the campaign `masks`: pool `a` with two units, `b` with five."""

    def __init__(self, place: Path | sa.URL) -> None:
        self.place = place
        self.clock = HandClock()
        self.engine = open_engine(place)
        upgrade(self.engine)
        self.campaigns = SqlCampaigns(self.engine, self.clock)
        self.campaign = self.create("masks")
        self._connected: list[ClaimLedger] = []
        self.claims = self.connect(1)

    def create(self, slug: str, per_person: int = 1, mode: Mode = Mode.IMMEDIATE) -> object:
        definition = CampaignDefinition(
            slug, {"en": "Masks", "zh": "免费口罩"}, at(self.clock.ms - 1_000), at(self.clock.ms + 60_000),
            per_person=per_person, mode=mode, pools=[PoolDefinition("a", 2), PoolDefinition("b", 5)],
        )  # fmt: skip
        return self.campaigns.create(definition, actor="test")

    def connect(self, seed: int) -> ClaimLedger:
        entropy = SeededEntropy(seed)
        if isinstance(self.place, Path):
            made: ClaimLedger = SqliteClaims(self.place, self.clock, entropy)
        else:
            made = ServerClaims(open_engine(self.place), self.clock, entropy)
        self._connected.append(made)
        return made

    def request(self, person: int, pool: str = "a", slug: str = "masks", key: bytes | None = None) -> ClaimRequest:
        campaign = self.campaigns.campaign(slug)
        pool_id = next((item.id for item in campaign.pools if item.code == pool), 0)
        digests = (key * 16, b"b" * 16) if key else (None, None)
        return ClaimRequest(campaign.id, pool_id, bytes([person]) * 16, *digests)

    def ask(self, *requests: ClaimRequest, fresh: bool = True) -> list[Granted | Refusal]:
        return self.claims.confirm(requests, [fresh] * len(requests)).decisions

    def claims_of(self, person: int, slug: str = "masks") -> list[Claim]:
        key = (self.campaigns.campaign(slug).id, bytes([person]) * 16)
        return self.claims.claims_of([key])[key]

    def sql(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def steer(self, command: str, expected: Control, control: Control) -> None:
        assert self.campaigns.control("masks", control, expected=expected, command=command, actor="test")

    def close(self) -> None:
        for claims in self._connected:
            claims.close()
        self.engine.dispose()


def claim_of(decision: Granted | Refusal | Claim) -> Claim:
    if isinstance(decision, Granted):
        return decision.claim
    assert isinstance(decision, Claim), decision
    return decision
