"""A ledger and its keepers on a real file, with a clock that the test moves."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headgate.domain.claim import ClaimRequest, Granted
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.keeper.duties import Keeper
from headgate.keeper.publisher import Publisher
from headgate.services.following import GateFollower
from headgate.services.relaying import Tenure
from headgate.services.relays import Relays
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.leases import SqlLeases
from headgate.storage.sql.outbox import SqlOutbox
from headgate.storage.sql.sqlite_claims import SqliteClaims
from tests.fakes import NOON_MS, HandClock, SeededEntropy

HOUR_MS = 3_600_000
SECOND_S = 1.0
"""After this any document is made anew."""


class House:
    """A ledger, and keepers of it; `public` is what a web server in front would serve."""

    def __init__(self, directory: Path) -> None:
        self.clock = HandClock()
        self.public = directory / "public"
        self.engine = open_engine(directory / "ledger.db")
        upgrade(self.engine)
        self.campaigns = SqlCampaigns(self.engine, self.clock)
        self.claims = SqliteClaims(directory / "ledger.db", self.clock, SeededEntropy())
        self.leases = SqlLeases(self.engine, self.clock)

    def keeper(
        self, holder: str = "first", follower: GateFollower | None = None, relays: Relays | None = None
    ) -> Keeper:
        relays = relays or Relays(SqlOutbox(self.engine), [], Tenure(lambda: self.clock.ms / 1000), self.clock)
        return Keeper(self.leases, holder, self.publisher(), relays, follower)

    def publisher(self) -> Publisher:
        return Publisher(self.campaigns, self.claims, self.clock, self.public)

    def create(self, slug: str = "masks", pools: int = 1, opens_ms: int = NOON_MS - HOUR_MS) -> None:
        opens, closes = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (opens_ms, opens_ms + 2 * HOUR_MS))
        several = [PoolDefinition(f"p{number}", 1, {"en": f"Shop {number}"}) for number in range(pools)]
        self.campaigns.create(CampaignDefinition(slug, {"en": "Masks"}, opens, closes, pools=several), actor="test")

    def sell(self, pool_id: int = 1) -> None:
        batch = [ClaimRequest(1, pool_id, pool_id.to_bytes(16, "big"))]
        (decision,) = self.claims.confirm(batch, [True]).decisions
        assert isinstance(decision, Granted)

    def state(self, slug: str = "masks") -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.public / "state" / f"{slug}.json").read_bytes())
        return state

    def packed(self, slug: str = "masks") -> Path:
        return self.public / "state" / f"{slug}.json.gz"

    def refusal(self, slug: str = "masks") -> str | None:
        """The outcome that the edge refuses claims with, if it does."""
        found = [path for path in (self.public / "refusals").glob("*") if path.stem == slug]
        assert len(found) <= 1, "the edge could say two things"
        for path in found:
            assert path.suffix == f".{json.loads(path.read_bytes())['outcome']}"
        return found[0].suffix.removeprefix(".") if found else None

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.public)) for path in self.public.rglob("*") if path.is_file())

    def close(self) -> None:
        self.claims.close()
        self.engine.dispose()
