"""The campaigns of all ledgers, for operators.

A campaign lives on one ledger for good, so where it was found once it is looked for ever after.  A ledger
that is away takes its own campaigns along and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..domain.campaign import Campaign, Control
from ..domain.definition import CampaignDefinition
from ..ports.ledger import CampaignLedger, LedgerError, SlugTaken, UnknownCampaign
from ..ports.placements import Placements
from ..settings import NoLedger


class UnknownShard(LookupError):
    """No ledger has this name; the message says which there are."""


class Home(NamedTuple):
    """A ledger where campaigns can live; `id` is what it was given when it was made."""

    id: int
    campaigns: CampaignLedger
    placements: Placements


class Located(NamedTuple):
    shard: str
    ledger: CampaignLedger
    campaign: Campaign


class Listing(NamedTuple):
    """Every campaign that could be read, and why the others could not, by the names of their ledgers."""

    found: list[Located]
    away: dict[str, LedgerError]


class Campaigns:
    """`homes` opens each ledger when it is asked for, the first one first; where that fails it is tried again."""

    def __init__(self, homes: Mapping[str, Callable[[], Home]]) -> None:
        self._homes = homes
        self._opened: dict[str, Home] = {}
        self._shards: dict[str, str] = {}

    @property
    def shards(self) -> list[str]:
        """The names of all ledgers."""
        return list(self._homes)

    @property
    def several(self) -> bool:
        return len(self._homes) > 1

    def shard_of(self, slug: str) -> str:
        """The name of the campaign's ledger; raises UnknownCampaign, LedgerError, NoLedger."""
        if not self.several:
            return next(iter(self._homes))
        known = self._shards.get(slug)
        if known is not None:
            return known
        unknown: UnknownCampaign | NoLedger | None = None
        failed: LedgerError | None = None
        for name in self._homes:
            try:
                self._home(name).campaigns.campaign(slug)
            except (UnknownCampaign, NoLedger) as error:
                unknown = unknown or error
            except LedgerError as error:
                failed = failed or error
            else:
                self._shards[slug] = name
                return name
        # One that could not be asked may have it.
        raise failed or unknown or AssertionError("there is at least one ledger")

    def of(self, slug: str) -> CampaignLedger:
        """The ledger that has the campaign; raises UnknownCampaign, LedgerError, NoLedger."""
        return self._home(self.shard_of(slug)).campaigns

    def find(self, slug: str) -> Located:
        """The campaign as it is now, and where it lives; raises UnknownCampaign, LedgerError, NoLedger."""
        ledger = self.of(slug)
        return Located(self.shard_of(slug), ledger, ledger.campaign(slug))

    def all(self) -> Listing:
        """Raises LedgerError, NoLedger where no ledger could be read."""
        listing = Listing([], {})
        absent: list[NoLedger] = []
        for name in self._homes:
            try:
                ledger = self._home(name).campaigns
                listing.found.extend(Located(name, ledger, campaign) for campaign in ledger.campaigns())
            except LedgerError as error:
                listing.away[name] = error
            except NoLedger as error:
                absent.append(error)
        unread = [*listing.away.values(), *absent]
        if len(unread) == len(self._homes):
            raise unread[0]
        return listing

    def create(self, definition: CampaignDefinition, shard: str | None, *, actor: str) -> Campaign:
        """On `shard`, or else on the ledger with the fewest campaigns beside it; all of it or nothing.

        Raises UnknownShard, SlugTaken, NoLedger, and LedgerError where any ledger is away: it may have such a
        campaign.
        """
        if shard is not None and shard not in self._homes:
            raise UnknownShard(f"there is no ledger {shard!r}; known are {', '.join(self._homes)}")
        homes = {name: self._home(name) for name in self._homes}
        first = next(iter(homes.values()))
        if len(homes) == 1:
            return first.campaigns.create(definition, actor=actor)
        beside = {name: _beside(name, home, definition) for name, home in homes.items()}
        wanted = shard or min(beside, key=lambda name: beside[name])
        placed = first.placements.place(definition.slug, homes[wanted].id)
        # It is another where somebody was cut off between these two steps, or does the same at this moment.
        found = next((name for name, home in homes.items() if home.id == placed), None)
        if found is None or shard not in (None, found):
            raise SlugTaken(
                f"the slug {definition.slug!r} belongs to {found!r}; create the campaign there, or choose another slug"
                if found
                else f"the slug {definition.slug!r} belongs to a ledger that the settings do not name any more; "
                "choose another slug"
            )
        return homes[found].campaigns.create(definition, actor=actor)

    def check_apart(self) -> None:
        """Raises ValueError where two names lead to one ledger, or two ledgers have a campaign of the same slug, as far
        as they can be asked.
        """
        found = self.all().found
        names: dict[int, str] = {}
        for name, home in self._opened.items():
            other = names.setdefault(home.id, name)
            if other != name:
                raise ValueError(f"{other!r} and {name!r} are the same ledger; remove one of them")
        slugs: dict[str, str] = {}
        for name, _, campaign in found:
            other = slugs.setdefault(campaign.slug, name)
            if other != name:
                raise ValueError(
                    f"the ledgers {other!r} and {name!r} both have a campaign {campaign.slug!r}, and nobody could tell "
                    "which one is meant; serve one of the two by itself"
                )

    def elsewhere(self) -> list[str]:
        """Slugs that were given to a ledger that has none of these names, so that nobody here knows their campaigns.

        Raises LedgerError, NoLedger where any ledger is away: it may be the one.
        """
        homes = [self._home(name) for name in self._homes]
        known = {home.id for home in homes}
        return sorted(slug for slug, ledger_id in homes[0].placements.placed().items() if ledger_id not in known)

    def _home(self, name: str) -> Home:
        home = self._opened.get(name)
        if home is None:
            home = self._opened[name] = self._homes[name]()
        return home


def _beside(name: str, home: Home, definition: CampaignDefinition) -> int:
    """How many campaigns of a ledger may still be going on when this one opens; raises SlugTaken."""
    campaigns = home.campaigns.campaigns()
    if any(campaign.slug == definition.slug for campaign in campaigns):
        raise SlugTaken(
            f"a campaign with the slug {definition.slug!r} exists already, on {name!r}; choose another slug"
        )
    opens_at_ms = definition.opens_at.timestamp() * 1000
    return sum(campaign.control is not Control.CLOSED and campaign.closes_at_ms > opens_at_ms for campaign in campaigns)
