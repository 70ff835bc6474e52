"""Moments that a campaign may have, and how often its page asks."""

from __future__ import annotations

from datetime import datetime

import pytest

from headgate.domain.campaign import Campaign, Control, Kind, Phase, Verification
from headgate.domain.definition import CampaignDefinition, PoolDefinition, problems
from headgate.domain.public import NEAR_MS, POLL_FAR_MS, POLL_NEAR_MS, poll_after_ms
from headgate.services.publishing import iso


def definition(opens_at: str, closes_at: str) -> CampaignDefinition:
    opens, closes = (datetime.fromisoformat(text) for text in (opens_at, closes_at))
    return CampaignDefinition("masks", {"en": "Masks"}, opens, closes, pools=[PoolDefinition("a", 1)])


@pytest.mark.parametrize(
    ("opens_at", "closes_at", "named"),
    [
        ("0001-01-01T00:00:00+14:00", "2030-01-01T00:00:00Z", "opens_at 0001-01-01"),
        ("1969-12-31T23:59:59Z", "2030-01-01T00:00:00Z", "opens_at 1969-12-31"),
        ("2030-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "closes_at 9999-12-31"),
    ],
)
def test_moments_that_cannot_be_written_everywhere_are_refused(opens_at: str, closes_at: str, named: str) -> None:
    (found,) = problems(definition(opens_at, closes_at))
    assert found.startswith(named)
    assert "give a year from 1971 to 9998" in found


@pytest.mark.parametrize("offset_h", [-12, 0, 14])
def test_the_outermost_moments_that_are_allowed_can_be_written_in_every_zone(offset_h: int) -> None:
    sign, hours = ("-" if offset_h < 0 else "+"), abs(offset_h)
    allowed = definition(f"1971-01-01T00:00:00{sign}{hours:02}:00", f"9998-12-31T23:59:59{sign}{hours:02}:00")
    assert problems(allowed) == []
    for moment in (allowed.opens_at, allowed.closes_at):
        for shown_h in (-12, 0, 14):
            iso(round(moment.timestamp() * 1000), shown_h * 3600)


def test_pages_never_all_come_at_one_moment() -> None:
    opens_ms = 10_000_000
    campaign = Campaign(
        1, "masks", Kind.FIRST_COME, {}, opens_ms, opens_ms * 2, 0, 1, rehearsal=False, verification=Verification.NONE,
        control=Control.ACTIVE, version=1, pools=(),
    )  # fmt: skip
    for left_ms in (NEAR_MS + 1, NEAR_MS + POLL_NEAR_MS, NEAR_MS + POLL_FAR_MS, NEAR_MS * 100, NEAR_MS, 1):
        wait_ms = poll_after_ms(campaign, Phase.SCHEDULED, opens_ms - left_ms)
        assert POLL_NEAR_MS <= wait_ms <= POLL_FAR_MS, left_ms
