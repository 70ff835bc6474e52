"""A ledger with many claims, made through the product's own ledger."""

from headgate.bootstrap import ledger
from headgate.domain.claim import ClaimRequest
from headgate.services.sessions import Sessions
from headgate.settings import load

BATCH = 500


def fill(data, slug, count, environment=None):
    """`count` confirmed claims of distinct people, spread over the campaign's pools."""
    settings = load(None, {"data_dir": str(data)}, environment or {})
    with ledger.open_campaigns(settings) as campaigns:
        campaign = campaigns.find(slug).campaign
    sessions = Sessions(b"\0" * 32, ledger.CLOCK, ledger.ENTROPY)
    claims = ledger.open_claims(ledger.main_place(settings))
    fresh = [True] * BATCH
    made = 0
    while made < count:
        batch = [
            ClaimRequest(campaign.id, campaign.pools[(made + index) % len(campaign.pools)].id, sessions.new_person())
            for index in range(BATCH)
        ]
        claims.confirm(batch, fresh)
        made += BATCH
    claims.close()
