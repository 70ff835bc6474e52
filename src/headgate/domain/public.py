"""The public view of a campaign, from which state answers, static files and pages are made."""

from __future__ import annotations

import msgspec

from .campaign import Campaign, Phase

POLL_FAR_MS = 15_000
POLL_NEAR_MS = 2_000
POLL_OVER_MS = 60_000
NEAR_MS = 60_000
"""From this long before opening, pages ask for state at the near pace."""


class PoolView(msgspec.Struct, frozen=True, gc=False):
    """`state` is `available` or `sold_out`; counts are not public, so that nobody races for the last one."""

    id: str
    label: dict[str, str]
    state: str


class CampaignView(msgspec.Struct, frozen=True):
    """What `GET /api/v1/campaigns/{slug}` says; `server_time` and the times are ISO 8601."""

    slug: str
    kind: str
    title: dict[str, str]
    phase: Phase
    opens_at: str
    closes_at: str
    server_time: str
    poll_after_ms: int
    per_person: int
    rehearsal: bool
    version: int
    pools: tuple[PoolView, ...]


def poll_after_ms(campaign: Campaign, phase: Phase, now_ms: int) -> int:
    """How long a page should wait before it asks again (ms)."""
    if phase is Phase.CLOSED:
        return POLL_OVER_MS
    if phase is Phase.SCHEDULED and campaign.opens_at_ms - now_ms > NEAR_MS:
        return max(POLL_NEAR_MS, min(POLL_FAR_MS, campaign.opens_at_ms - now_ms - NEAR_MS))
    return POLL_NEAR_MS


def sold_out(remaining: dict[int, int]) -> bool:
    """Whether no pool has a unit left; `remaining` maps pool ids to units."""
    return not any(remaining.values())
