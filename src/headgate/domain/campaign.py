"""A campaign, its pools and its phases.

Times are integers: milliseconds since the Unix epoch, UTC.  `utc_offset_s` only remembers in which
local time the operator thinks.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from .outcome import CLOSED, NOT_OPEN, PAUSED, SOLD_OUT, Refusal


class Kind(StrEnum):
    FIRST_COME = "first_come"


class Verification(StrEnum):
    NONE = "none"
    PHONE = "phone"


class Mode(StrEnum):
    """How long whoever asks for a claim waits for its decision."""

    IMMEDIATE = "immediate"
    """The answer to the request is the decision."""
    QUEUED = "queued"
    """The answer says that the request waits; the decision is read later."""


class Control(StrEnum):
    """What the operator has decided; the clock decides the rest."""

    ACTIVE = "active"
    PAUSED = "paused"
    CLOSED = "closed"


class Phase(StrEnum):
    """What the public sees; a function of control, clock and stock (`phase_of`)."""

    SCHEDULED = "scheduled"
    OPEN = "open"
    PAUSED = "paused"
    SOLD_OUT = "sold_out"
    CLOSED = "closed"


# The life cycle of a campaign: (phase, event) -> phase.  Tests, the diagram in the documentation and
# the operator's commands derive from this table; a pair that is not in it is impossible.
CAMPAIGN_LIFE: dict[tuple[Phase, str], Phase] = {
    (Phase.SCHEDULED, "opens"): Phase.OPEN,
    (Phase.SCHEDULED, "pause"): Phase.PAUSED,
    (Phase.SCHEDULED, "close"): Phase.CLOSED,
    (Phase.OPEN, "pause"): Phase.PAUSED,
    (Phase.OPEN, "sells_out"): Phase.SOLD_OUT,
    (Phase.OPEN, "closes"): Phase.CLOSED,
    (Phase.OPEN, "close"): Phase.CLOSED,
    (Phase.SOLD_OUT, "stock_returns"): Phase.OPEN,
    (Phase.SOLD_OUT, "pause"): Phase.PAUSED,
    (Phase.SOLD_OUT, "closes"): Phase.CLOSED,
    (Phase.SOLD_OUT, "close"): Phase.CLOSED,
    (Phase.PAUSED, "resume_before_opening"): Phase.SCHEDULED,
    (Phase.PAUSED, "resume"): Phase.OPEN,
    (Phase.PAUSED, "resume_sold_out"): Phase.SOLD_OUT,
    (Phase.PAUSED, "closes"): Phase.CLOSED,
    (Phase.PAUSED, "close"): Phase.CLOSED,
}

# What an operator may ask for: (control, command) -> control.
CONTROL_LIFE: dict[tuple[Control, str], Control] = {
    (Control.ACTIVE, "pause"): Control.PAUSED,
    (Control.PAUSED, "resume"): Control.ACTIVE,
    (Control.ACTIVE, "close"): Control.CLOSED,
    (Control.PAUSED, "close"): Control.CLOSED,
}

# A phase that refuses every claim, and the refusal that it gives.
REFUSAL_OF_PHASE: dict[Phase, Refusal] = {
    Phase.SCHEDULED: NOT_OPEN,
    Phase.PAUSED: PAUSED,
    Phase.CLOSED: CLOSED,
    Phase.SOLD_OUT: SOLD_OUT,
}


NO_POOL = 0
"""The id of no pool: ledgers count from 1."""


class Pool(msgspec.Struct, frozen=True, gc=False):
    """A stock of identical units.  `code` is the public id, unique within its campaign."""

    id: int
    code: str
    label: dict[str, str]
    capacity: int


class CampaignLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many claims may be asked for in a minute; 0 for no limit."""

    per_person_per_minute: int = 0
    per_device_per_minute: int = 0
    """Of one device, where the request names one (`signals.device`)."""
    per_pool_per_minute: int = 0
    """For units of one pool, such as a site whose people shall not be overrun."""
    per_minute: int = 0
    """Of everybody together."""


class Campaign(msgspec.Struct, frozen=True):
    """A campaign as the ledger defines it; `version` grows with every change of it or its capacities."""

    id: int
    slug: str
    kind: Kind
    title: dict[str, str]
    opens_at_ms: int
    closes_at_ms: int
    utc_offset_s: int
    per_person: int
    rehearsal: bool
    verification: Verification
    control: Control
    version: int
    pools: tuple[Pool, ...]
    limits: CampaignLimits | None = None
    mode: Mode = Mode.IMMEDIATE

    @property
    def capacity(self) -> int:
        return sum(pool.capacity for pool in self.pools)


def window_refusal(control: Control, opens_at_ms: int, closes_at_ms: int, now_ms: int) -> Refusal | None:
    """Why no claim can be taken at `now_ms`, or None inside the window.  The window is half open: [opens, closes)."""
    if control is Control.CLOSED or now_ms >= closes_at_ms:
        return CLOSED
    if control is Control.PAUSED:
        return PAUSED
    if now_ms < opens_at_ms:
        return NOT_OPEN
    return None


def phase_of(campaign: Campaign, now_ms: int, *, sold_out: bool) -> Phase:
    """The phase at `now_ms`; `sold_out` says whether no pool has a unit left."""
    refusal = window_refusal(campaign.control, campaign.opens_at_ms, campaign.closes_at_ms, now_ms)
    if refusal is CLOSED:
        return Phase.CLOSED
    if refusal is PAUSED:
        return Phase.PAUSED
    if refusal is NOT_OPEN:
        return Phase.SCHEDULED
    return Phase.SOLD_OUT if sold_out else Phase.OPEN
