"""Views and claims to render, for the tests of the participant pages."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.domain.campaign import Phase
from headgate.domain.claim import Claim, Status
from headgate.domain.public import CampaignView, PoolView
from tests.shared_data import PHARMACY_ID, PHARMACY_LABEL, pharmacy_rows

CENTRAL = PoolView("central", {"en": "Central pharmacy", "zh": "中心药房"}, "available")
NORTH = PoolView("north", {"en": "North gate clinic", "zh": "北门诊所"}, "sold_out")


def sample_view(
    pools: Sequence[PoolView] = (CENTRAL, NORTH),
    *,
    phase: Phase = Phase.OPEN,
    per_person: int = 1,
    rehearsal: bool = False,
    title: dict[str, str] | None = None,
    closes_at: str = "2026-12-01T12:00:00+08:00",
) -> CampaignView:
    return CampaignView(
        slug="masks",
        kind="first_come",
        title=title or {"en": "Free masks", "zh": "免费口罩"},
        phase=phase,
        opens_at="2026-12-01T09:00:00+08:00",
        closes_at=closes_at,
        server_time="2026-12-01T08:30:00.000+08:00",
        poll_after_ms=2000,
        per_person=per_person,
        rehearsal=rehearsal,
        version=1,
        pools=tuple(pools),
    )


def sample_claim(status: Status = Status.CONFIRMED, *, pool: str = "central", number: int = 1) -> Claim:
    return Claim(f"{number:030x}", number, pool, number, status, f"00000{number}-7KX2QM", 1_796_086_923_000)


def pharmacy_pools() -> list[PoolView]:
    return [PoolView(row[PHARMACY_ID], {"zh": row[PHARMACY_LABEL]}, "available") for row in pharmacy_rows()]
