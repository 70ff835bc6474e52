"""Counts and exports of campaigns: they read everything, and may read it from a replica."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ..domain.campaign import Campaign
from ..ports.ledger import CampaignLedger, ClaimRow, Tally
from ..ports.replicas import Sources

PAGE = 5_000
"""Rows that are read in one short transaction: a long one would keep the write-ahead log from being folded back."""


class Reports:
    """As new as `sources` promise to be."""

    def __init__(self, sources: Sources[CampaignLedger]) -> None:
        self._sources = sources

    def tally(self, slug: str) -> Tally:
        """Raises UnknownCampaign."""
        return self._sources.read(lambda ledger: ledger.tally(slug))

    def claim_count(self, slug: str) -> int:
        """Raises UnknownCampaign."""
        return self._sources.read(lambda ledger: ledger.claim_count(slug))

    def claims(self, slug: str) -> Iterator[ClaimRow]:
        """Every claim of the campaign in the order of commitment; raises UnknownCampaign.

        A source that goes away in the middle is followed by another, which goes on behind the last row.
        """
        campaign = self._sources.read(lambda ledger: ledger.campaign(slug))
        after = 0
        while True:
            rows = self._sources.read(partial(_page, campaign=campaign, after=after))
            yield from rows
            if len(rows) < PAGE:
                return
            after = rows[-1].seq


def _page(ledger: CampaignLedger, campaign: Campaign, after: int) -> list[ClaimRow]:
    return ledger.claims_after(campaign, after, PAGE)
