"""What operators do to a running campaign."""

from __future__ import annotations

from ..domain.campaign import CONTROL_LIFE, Campaign, Phase, phase_of
from ..ports.ledger import CampaignLedger, PoolStock


class NotPossible(ValueError):
    """The campaign is not in a state from which this can be done."""


def command(campaigns: CampaignLedger, slug: str, name: str, *, actor: str) -> Campaign:
    """Pause, resume or close a campaign, as the life cycle allows.  Raises UnknownCampaign, NotPossible."""
    campaign = campaigns.campaign(slug)
    control = CONTROL_LIFE.get((campaign.control, name))
    if control is None:
        possible = sorted(event for state, event in CONTROL_LIFE if state is campaign.control)
        said = f"possible are: {', '.join(possible)}" if possible else "nothing can be done to it any more"
        raise NotPossible(f"the campaign {slug!r} is {campaign.control}, so {name!r} is not possible; {said}")
    changed = campaigns.control(slug, control, expected=campaign.control, command=name, actor=actor)
    if changed is None:
        raise NotPossible(f"the campaign {slug!r} was changed by somebody else at this moment; look, and try again")
    return changed


def topup(campaigns: CampaignLedger, slug: str, pool_code: str, units: int, now_ms: int, *, actor: str) -> PoolStock:
    """Add units to a pool of a campaign that is not over.

    Raises UnknownCampaign, UnknownPool, NotPossible, or ValueError where the pool would grow too large.
    """
    campaign = campaigns.campaign(slug)
    if phase_of(campaign, now_ms, sold_out=False) is Phase.CLOSED:
        raise NotPossible(f"the campaign {slug!r} has closed, so nobody could get these {units} units")
    return campaigns.topup(slug, pool_code, units, actor=actor)
