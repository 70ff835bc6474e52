"""The public state of a campaign as bytes: for state answers and for the files that the edge serves."""

from __future__ import annotations

import gzip
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import msgspec

from ..domain.campaign import REFUSAL_OF_PHASE, Campaign, Phase, phase_of
from ..domain.outcome import Refusal
from ..domain.public import CampaignView, PoolView, poll_after_ms
from .stock import StockBoard

FRESH_MS = 1_000
"""How long the state answer of a campaign with many pools may be served before it is made again."""

FRESH_SMALL_MS = 100
"""The same for a campaign with few pools, whose answer costs microseconds."""

SMALL_POOLS = 20

GZIP_MIN_BYTES = 1_024
GZIP_LEVEL = 5


def iso(at_ms: int, utc_offset_s: int = 0) -> str:
    """ISO 8601 with milliseconds and offset; the campaign's own local time where its offset is given."""
    zone = timezone(timedelta(seconds=utc_offset_s)) if utc_offset_s else UTC
    return datetime.fromtimestamp(at_ms / 1000, zone).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def folded(text: str) -> str:
    """The text as searches compare it."""
    return unicodedata.normalize("NFKC", text).casefold()


def edge_refusal(phase: Phase, slug: str) -> Refusal:
    """What an edge says to claims in a phase of REFUSAL_OF_PHASE; it does not know who holds what."""
    refusal = REFUSAL_OF_PHASE[phase]
    if phase is Phase.SCHEDULED:
        return refusal
    mine = f"/api/v1/campaigns/{slug}/claims/mine"
    detail = f"{refusal.detail} Whoever has asked before finds at {mine} what came of it."
    return msgspec.structs.replace(refusal, detail=detail)


def _with_gzip(document: bytes) -> tuple[bytes, bytes]:
    large = len(document) >= GZIP_MIN_BYTES
    return document, gzip.compress(document, GZIP_LEVEL, mtime=0) if large else b""


class Publication:
    """One campaign's public view, made again at most once in FRESH_MS."""

    def __init__(self, campaign: Campaign, board: StockBoard) -> None:
        self.campaign = campaign
        self.board = board
        self._pools: tuple[PoolView, ...] = ()
        self._pools_version = -1
        self._positions = {pool.code: position for position, pool in enumerate(campaign.pools)}
        self._haystack: list[str] | None = None
        self._pages: dict[str, tuple[int | None, tuple[bytes, bytes]]] = {}
        self._list = (b"", b"")
        self._list_version = -1
        self._list_made_ms: int | None = None
        self._document = (b"", b"")
        self._made_ms: int | None = None
        self._fresh_ms = FRESH_SMALL_MS if len(campaign.pools) <= SMALL_POOLS else FRESH_MS

    def phase(self, now_ms: int) -> Phase:
        return phase_of(self.campaign, now_ms, sold_out=self.board.sold_out(self.campaign.id))

    @property
    def version(self) -> int:
        return self.campaign.version + self.board.version(self.campaign.id)

    def pools(self) -> tuple[PoolView, ...]:
        version = self.version
        if version != self._pools_version:
            empty = self.board.empty
            self._pools = tuple(
                PoolView(pool.code, pool.label, "sold_out" if empty(pool.id) else "available")
                for pool in self.campaign.pools
            )
            self._pools_version = version
        return self._pools

    def pool(self, code: str) -> PoolView:
        """One pool by its code; raises KeyError."""
        pools = self.pools()
        return pools[self._positions[code]]

    def pool_list(self, now_ms: int) -> tuple[bytes, bytes]:
        """All pools as JSON, and compressed; made again when stock changed, at most once in FRESH_MS."""
        stale = self._list_made_ms is None or not 0 <= now_ms - self._list_made_ms < FRESH_MS
        if stale and self._list_version != self.version:
            self._list_version = self.version
            self._list = _with_gzip(msgspec.json.encode({"pools": self.pools(), "version": self.version}))
            self._list_made_ms = now_ms
        return self._list

    def search(self, query: str) -> list[PoolView]:
        """Pools whose label or code holds every word of the query in any case and width, those with stock first."""
        words = folded(query).split()
        if self._haystack is None:
            self._haystack = [folded(" ".join([pool.code, *pool.label.values()])) for pool in self.campaign.pools]
        pools = self.pools()
        found = [pools[position] for position, text in enumerate(self._haystack) if all(word in text for word in words)]
        return sorted(found, key=lambda pool: pool.state != "available")

    def rendered(self, language: str, now_ms: int, render: Callable[[CampaignView], bytes]) -> tuple[bytes, bytes]:
        """A page made from the view, and compressed; as old as the state answer may be."""
        self.document(now_ms)
        made_ms, page = self._pages.get(language, (-1, (b"", b"")))
        if made_ms != self._made_ms:
            page = _with_gzip(render(self.view(now_ms)))
            self._pages[language] = (self._made_ms, page)
        return page

    def view(self, now_ms: int, pools: tuple[PoolView, ...] | None = None) -> CampaignView:
        """The view at `now_ms`, with all pools or with those given."""
        campaign = self.campaign
        phase = self.phase(now_ms)
        return CampaignView(
            slug=campaign.slug,
            kind=campaign.kind,
            title=campaign.title,
            phase=phase,
            opens_at=iso(campaign.opens_at_ms, campaign.utc_offset_s),
            closes_at=iso(campaign.closes_at_ms, campaign.utc_offset_s),
            server_time=iso(now_ms),
            poll_after_ms=poll_after_ms(campaign, phase, now_ms),
            per_person=campaign.per_person,
            rehearsal=campaign.rehearsal,
            version=self.version,
            pools=self.pools() if pools is None else pools,
        )

    def document(self, now_ms: int) -> tuple[bytes, bytes]:
        """The state answer as JSON, and compressed (empty where that is not worth it)."""
        if self._made_ms is None or not 0 <= now_ms - self._made_ms < self._fresh_ms or self._turns(now_ms):
            self._document = _with_gzip(msgspec.json.encode(self.view(now_ms)))
            self._made_ms = now_ms
        return self._document

    def _turns(self, now_ms: int) -> bool:
        """Whether opening or closing lies between the last making and now: that is never served late."""
        assert self._made_ms is not None
        campaign = self.campaign
        return any(self._made_ms < moment <= now_ms for moment in (campaign.opens_at_ms, campaign.closes_at_ms))
