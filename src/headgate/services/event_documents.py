"""Events as JSON, the same for every destination; described in docs/reference/events.md."""

from __future__ import annotations

import msgspec

from ..domain.event import Event
from .publishing import iso


class EventClaim(msgspec.Struct, frozen=True):
    id: str
    pool: str
    status: str


class EventDocument(msgspec.Struct, frozen=True):
    id: str
    type: str
    at: str
    campaign: str
    claim: EventClaim
    position: str


def document(event: Event) -> EventDocument:
    return EventDocument(
        id=event.id,
        type=event.kind,
        at=iso(event.at_ms),
        campaign=event.campaign,
        claim=EventClaim(event.claim_id, event.pool, event.kind.status),
        position=str(event.position),
    )
