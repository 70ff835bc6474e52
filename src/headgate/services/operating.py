"""What operators do to a running campaign."""

from __future__ import annotations

from ..domain.campaign import CONTROL_LIFE, Campaign
from ..ports.ledger import CampaignLedger


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
    return campaigns.control(slug, control, command=name, actor=actor)
