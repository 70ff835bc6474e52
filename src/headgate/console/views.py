"""What the pages show, as plain values: pure functions of what the ledger says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import msgspec

from ..domain.campaign import Campaign, Phase, Pool, phase_of
from ..domain.public import sold_out
from ..ports.ledger import PoolStock
from ..ports.nodes import NodeSeen
from ..services.nodes import differing
from ..services.publishing import folded

POOLS_SHOWN_MAX = 200
QUERY_CHARS_MAX = 100

PHASE_NAMES = {
    Phase.SCHEDULED: "Scheduled",
    Phase.OPEN: "Open",
    Phase.PAUSED: "Paused",
    Phase.SOLD_OUT: "Sold out",
    Phase.CLOSED: "Closed",
}


class Said(msgspec.Struct, frozen=True):
    """A text and its language, so that it is pronounced and set in the right way."""

    language: str
    text: str


class CampaignRow(msgspec.Struct, frozen=True):
    slug: str
    titles: list[Said]
    phase: Phase
    phase_name: str
    window: str
    rehearsal: bool
    capacity: int
    available: int

    @property
    def claimed(self) -> int:
        return self.capacity - self.available


class PoolRow(msgspec.Struct, frozen=True):
    code: str
    labels: list[Said]
    capacity: int
    available: int

    @property
    def claimed(self) -> int:
        return self.capacity - self.available


class PoolSelection(msgspec.Struct, frozen=True):
    """`rows` are the first POOLS_SHOWN_MAX of the `found` pools that match."""

    rows: list[PoolRow]
    found: int
    total: int


class NodeRow(msgspec.Struct, frozen=True):
    """`remark` says what is not as it is with most of the others; empty where nothing is."""

    node: NodeSeen
    seen: str
    remark: str


def node_rows(nodes: Sequence[NodeSeen]) -> list[NodeRow]:
    odd = differing(nodes)
    return [
        NodeRow(
            node,
            moment(node.seen_at_ms, UTC, "%-d %b %Y %H:%M:%S UTC"),
            "gone" if node.gone else ", ".join(f"other {what}" for what in odd.get((node.name, node.plane), [])),
        )
        for node in nodes
    ]


def texts(said: dict[str, str]) -> list[Said]:
    """A text in its languages, English first."""
    return [Said(language, said[language]) for language in sorted(said, key=lambda code: (code != "en", code))]


def moment(at_ms: int, zone: timezone, form: str = "%-d %b %Y %H:%M") -> str:
    """A time as an operator of the campaign reads it; a time outside the calendar says so."""
    try:
        return datetime.fromtimestamp(at_ms // 1000, zone).strftime(form)
    except (OverflowError, ValueError):
        return "beyond the calendar"


def zone_of(campaign: Campaign) -> timezone:
    return timezone(timedelta(seconds=campaign.utc_offset_s)) if campaign.utc_offset_s else UTC


def window(campaign: Campaign) -> str:
    """Opening and closing in the campaign's local time; the date of closing only where it is another day."""
    zone = zone_of(campaign)
    same_day = moment(campaign.opens_at_ms, zone, "%x") == moment(campaign.closes_at_ms, zone, "%x")
    closes = moment(campaign.closes_at_ms, zone, "%H:%M") if same_day else moment(campaign.closes_at_ms, zone)
    # A line breaks between the parts, never inside one.
    opens, closes = (part.replace(" ", "\u00a0") for part in (moment(campaign.opens_at_ms, zone), closes))
    return f"{opens}\u00a0– {closes} ({zone})"


def campaign_row(campaign: Campaign, stock: Sequence[PoolStock], now_ms: int) -> CampaignRow:
    available = sum(pool.remaining for pool in stock)
    phase = phase_of(campaign, now_ms, sold_out=sold_out({pool.pool_id: pool.remaining for pool in stock}))
    return CampaignRow(
        slug=campaign.slug,
        titles=texts(campaign.title),
        phase=phase,
        phase_name=PHASE_NAMES[phase],
        window=window(campaign),
        rehearsal=campaign.rehearsal,
        # Capacity and stock are read one after the other, and a top-up may come in between.
        capacity=max(campaign.capacity, available),
        available=available,
    )


def select_pools(campaign: Campaign, stock: Sequence[PoolStock], query: str) -> PoolSelection:
    """The pools whose code or label holds the query, whatever its case and width; all where it is empty."""
    wanted = folded(query.strip()[:QUERY_CHARS_MAX])
    found = [pool for pool in campaign.pools if not wanted or wanted in _haystack(pool)]
    remaining = {pool.pool_id: pool.remaining for pool in stock}
    rows = []
    for pool in found[:POOLS_SHOWN_MAX]:
        available = remaining.get(pool.id, 0)
        rows.append(PoolRow(pool.code, texts(pool.label), max(pool.capacity, available), available))
    return PoolSelection(rows, len(found), len(campaign.pools))


def _haystack(pool: Pool) -> str:
    return folded("\n".join([pool.code, *pool.label.values()]))
