"""The campaign book: every campaign as one worker knows it, at most a second older than what it is read from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ..domain.campaign import Campaign, CampaignLimits, Control, Mode
from ..ports.clock import Clock
from ..ports.gate import Gate
from ..ports.ledger import PoolStock
from ..ports.replicas import Sources
from ..settings import MAIN
from .publishing import Publication
from .stock import StockBoard

REFRESH_S = 0.25
"""How often the ledger is asked for changes; with the time of a read it stays well under a second."""


class Entry:
    """A campaign with what the claim path needs at hand."""

    def __init__(self, campaign: Campaign, board: StockBoard, *, queues: bool, shard: str = MAIN) -> None:
        self.campaign = campaign
        self.shard = shard
        self.queued = queues and campaign.mode is Mode.QUEUED
        self.limited = campaign.limits not in (None, CampaignLimits())
        """Whether anything is counted besides addresses."""
        self.pool_ids = {pool.code: pool.id for pool in campaign.pools}
        self.pool_codes = {pool.id: pool.code for pool in campaign.pools} if self.queued else {}
        self.publication = Publication(campaign, board)
        self._board = board
        self._active = campaign.control is Control.ACTIVE

    def takes_claims(self, now_ms: int) -> bool:
        """Whether the phase is `open`: asked for every claim, so it is kept to comparisons."""
        campaign = self.campaign
        return (
            self._active
            and campaign.opens_at_ms <= now_ms < campaign.closes_at_ms
            and not self._board.sold_out(campaign.id)
        )

    def has_nothing_left(self, now_ms: int) -> bool:
        """Whether the phase is `sold_out`."""
        campaign = self.campaign
        return (
            self._active
            and campaign.opens_at_ms <= now_ms < campaign.closes_at_ms
            and self._board.sold_out(campaign.id)
        )

    def scheduled(self, now_ms: int) -> bool:
        """Whether the phase is `scheduled`."""
        return self._active and now_ms < self.campaign.opens_at_ms

    def has_stock(self, pool_id: int) -> bool:
        """Whether the pool was not empty when the ledger last spoke of it."""
        return not self._board.empty(pool_id)


class News(msgspec.Struct, frozen=True):
    """What a look at the ledger found.

    `campaign` is set where it is new or was changed, `persons` where the gate is to be rebuilt for it.
    """

    campaign_id: int
    stock: list[PoolStock]
    campaign: Campaign | None = None
    persons: list[bytes] | None = None


class CampaignBook:
    """Entries of one ledger by slug, with the gate and the stock board that go with them.  Owned by one event loop."""

    def __init__(self, board: StockBoard, gate: Gate, *, queues: bool = False, shard: str = MAIN) -> None:
        """`queues` says whether requests can wait; without, all campaigns are decided at once."""
        self._queues = queues
        self._shard = shard
        self._board = board
        self._gate = gate
        self._entries: dict[str, Entry] = {}
        self.by_claim_path: dict[str, Entry] = {}
        """Entries by the path that claims are posted to."""
        self.read = False
        """Whether the ledger's campaigns are known: before that, one that is not here may exist all the same."""

    def get(self, slug: str) -> Entry | None:
        return self._entries.get(slug)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def take_all(self, look: Iterable[News]) -> None:
        """Take over what a look found; what is older than the known is ignored."""
        for news in look:
            self.take(news)
        self.read = True

    def take(self, news: News) -> None:
        self._board.learn(news.stock)
        if news.persons is not None:
            self._gate.rebuild(news.campaign_id, news.persons)
        if news.campaign is None:
            return
        known = self._entries.get(news.campaign.slug)
        if known is None or known.campaign.version < news.campaign.version:
            entry = Entry(news.campaign, self._board, queues=self._queues, shard=self._shard)
            self._entries[news.campaign.slug] = entry
            self.by_claim_path[f"/api/v1/campaigns/{news.campaign.slug}/claims"] = entry


class Catalogue:
    """The books of all ledgers; a campaign is in one of them."""

    def __init__(self, books: Sequence[CampaignBook]) -> None:
        self._books = books

    def get(self, slug: str) -> Entry | None:
        return next((entry for book in self._books if (entry := book.get(slug)) is not None), None)

    def by_claim_path(self, path: str) -> Entry | None:
        """The entry that claims are posted to under this path."""
        # Asked for every claim, so without a generator.
        for book in self._books:
            entry = book.by_claim_path.get(path)
            if entry is not None:
                return entry
        return None

    @property
    def read(self) -> bool:
        """Whether every ledger has said which campaigns it has."""
        return all(book.read for book in self._books)


class KnowsCampaigns(Protocol):
    """What a look needs of `headgate.ports.ledger.CampaignLedger`."""

    def campaign_by_id(self, campaign_id: int) -> Campaign: ...


class KnowsStock(Protocol):
    """What a look needs of `headgate.ports.ledger.ClaimLedger`."""

    def versions(self) -> dict[int, int]: ...

    def stock_of(self, campaign_id: int) -> list[PoolStock]: ...

    def persons_of(self, campaign_id: int) -> list[bytes]: ...

    def changed(self) -> bool: ...


class Ledgers(NamedTuple):
    """Both sides of the ledger, on one server."""

    campaigns: KnowsCampaigns
    claims: KnowsStock


class _Looked(NamedTuple):
    """What was looked at, the versions and queued campaigns known afterwards, and the news."""

    ledgers: Ledgers
    versions: dict[int, int]
    queued: set[int]
    news: list[News]


class Refresher:
    """Looks for what changed in the ledger.  `look` blocks and belongs to one thread; `read_again` may be
    called from another.

    One look may be at the primary, and the next at a replica that has not come so far: what was seen stays
    seen.  What a server says has changed since it was last asked is believed only where it was the last one
    that was read from; after another one everything is read.
    """

    def __init__(self, sources: Sources[Ledgers], clock: Clock, *, exclusive: bool) -> None:
        self._sources = sources
        self._clock = clock
        self._exclusive = exclusive
        self._versions: dict[int, int] = {}
        self._last: Ledgers | None = None
        # Consumers claim for these beside the worker, however exclusive it is.
        self._queued: set[int] = set()
        # Others have committed something that was not read yet.
        self._behind = False
        self._doubtful: deque[int] = deque()

    def read_again(self, campaign_id: int) -> None:
        """A commit of this campaign is in doubt, so that its stock is not known any more."""
        self._doubtful.append(campaign_id)

    def look(self) -> list[News]:
        """News since the last look that did not fail.  Raises LedgerError; then the next look finds all of it."""
        doubtful = list(self._doubtful)
        looked = self._sources.read(self._look_at)
        # A commit that was not answered has happened on the primary, if anywhere.
        settled = self._sources.primary.claims
        news = looked.news + [News(campaign_id, settled.stock_of(campaign_id)) for campaign_id in doubtful]
        # Only now, when nothing can fail any more, is anything taken as read.
        self._last = looked.ledgers
        self._versions = looked.versions
        self._queued = looked.queued
        self._behind = False
        for _ in doubtful:
            self._doubtful.popleft()
        return news

    def _look_at(self, ledgers: Ledgers) -> _Looked:
        versions, queued = dict(self._versions), set(self._queued)
        news = []
        for campaign_id, version in ledgers.claims.versions().items():
            if version > versions.get(campaign_id, 0):
                campaign = ledgers.campaigns.campaign_by_id(campaign_id)
                news.append(self._campaign_news(ledgers, campaign))
                versions[campaign_id] = campaign.version
                if campaign.mode is Mode.QUEUED:
                    queued.add(campaign_id)
        # A worker that makes all claims of a campaign learns stock from its own commits.
        others = queued if self._exclusive else versions.keys()
        if others:
            # Asked in any case, so that it counts from here.
            changed = ledgers.claims.changed()
            self._behind = self._behind or changed or ledgers is not self._last
            if self._behind:
                news += [News(campaign_id, ledgers.claims.stock_of(campaign_id)) for campaign_id in sorted(others)]
        return _Looked(ledgers, versions, queued, news)

    def _campaign_news(self, ledgers: Ledgers, campaign: Campaign) -> News:
        persons = None
        # Only for a gate that can know everybody, and not for a campaign that is over: whoever still
        # asks there is looked up.
        known = self._exclusive and campaign.mode is not Mode.QUEUED
        if known and campaign.id not in self._versions and campaign.closes_at_ms > self._clock.now_ms():
            persons = ledgers.claims.persons_of(campaign.id)
        return News(campaign.id, ledgers.claims.stock_of(campaign.id), campaign, persons)
