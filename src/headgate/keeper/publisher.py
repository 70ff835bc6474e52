"""What a web server in front answers from: each campaign's public state, and its refusal while it takes no claims.

Every node publishes into its own directory, whoever holds the keeper's lease: what an edge serves lies beside it.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from ..domain.campaign import REFUSAL_OF_PHASE, Phase
from ..domain.outcome import Refusal
from ..http.problem import problem
from ..ports.clock import Clock
from ..ports.ledger import CampaignLedger, ClaimLedger, LedgerError
from ..services import files
from ..services.publishing import Publication, edge_refusal
from ..services.stock import StockBoard

OPENING_MS = 3_000
"""So long before the opening the edge lets claims through, and the ledger tells by the moment who is early: a file
is up to half a second old, and a web server may remember for another second that it was there."""

STALE_MS = 5_000
"""A ledger that has not answered for so long may have opened a campaign, or been given more stock."""

_log = structlog.get_logger("headgate.keeper")


class Publisher:
    """Files in `public_dir`: `state/SLUG.json` and `.json.gz` (the state answer), `refusals/SLUG.OUTCOME` (what a
    claim without an idempotency key is refused with; absent while claims are taken).
    """

    def __init__(self, campaigns: CampaignLedger, claims: ClaimLedger, clock: Clock, public_dir: Path) -> None:
        self._campaigns = campaigns
        self._claims = claims
        self._clock = clock
        self._state_dir = public_dir / "state"
        self._refusal_dir = public_dir / "refusals"
        self._publications: dict[int, Publication] = {}
        self._written: dict[Path, tuple[bytes, tuple[int, int] | None]] = {}
        self._unreadable: set[int] = set()
        self._begun = False
        self._heard_ms = clock.now_ms()

    def running(self) -> list[int]:
        """The campaigns whose window is open."""
        now_ms = self._clock.now_ms()
        return [
            campaign_id
            for campaign_id, publication in self._publications.items()
            if publication.campaign.opens_at_ms <= now_ms < publication.campaign.closes_at_ms
        ]

    def turn(self) -> None:
        """Publish what has changed.  Raises LedgerError; the next turn then publishes all of it."""
        if not self._begun:
            for directory in (self._state_dir, self._refusal_dir):
                files.remove_left_over(directory, self._clock.now_ms())
            self._begun = True
        try:
            self._publish_all()
        except LedgerError:
            if self._clock.now_ms() - self._heard_ms > STALE_MS:
                self.withdraw()
            raise
        self._heard_ms = self._clock.now_ms()

    def withdraw(self) -> None:
        """Let the application decide about every claim."""
        for path in self._refusal_dir.glob("*.*"):
            self._write(path, b"")

    def _publish_all(self) -> None:
        for campaign_id, version in self._claims.versions().items():
            try:
                self._publish(campaign_id, version)
            except LedgerError:
                raise
            except Exception:  # noqa: BLE001 -- a campaign that this program cannot show must not keep others from being published
                if campaign_id not in self._unreadable:
                    _log.exception("campaign_not_published", campaign=campaign_id)
                self._unreadable.add(campaign_id)
            else:
                self._unreadable.discard(campaign_id)

    def _publish(self, campaign_id: int, version: int) -> None:
        publication = self._publications.get(campaign_id)
        if publication is None or publication.campaign.version != version:
            publication = Publication(self._campaigns.campaign_by_id(campaign_id), StockBoard())
            self._publications[campaign_id] = publication
        publication.board.learn(self._claims.stock_of(campaign_id))
        slug = publication.campaign.slug
        now_ms = self._clock.now_ms()
        document, compressed = publication.document(now_ms)
        self._write(self._state_dir / f"{slug}.json", document)
        self._write(self._state_dir / f"{slug}.json.gz", compressed)
        self._refuse(slug, _refusal(publication, now_ms))

    def _refuse(self, slug: str, told: Refusal | None) -> None:
        for refusal in REFUSAL_OF_PHASE.values():
            if told is None or refusal.outcome != told.outcome:
                self._write(self._refusal_dir / f"{slug}.{refusal.outcome}", b"")
        if told is not None:
            self._write(self._refusal_dir / f"{slug}.{told.outcome}", problem(told).body)

    def _write(self, path: Path, content: bytes) -> None:
        """Atomically, and only where it changed: a reader sees the old file or the new one, never a part.

        Without content there is no file.
        """
        if not content:
            self._written.pop(path, None)
            path.unlink(missing_ok=True)
        elif self._written.get(path) != (content, _identity(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(path, content)
            self._written[path] = (content, _identity(path))


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is, so that one that somebody else put there is not taken for ours; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _refusal(publication: Publication, now_ms: int) -> Refusal | None:
    """What the edge says to a claim; None where it may not refuse by itself."""
    campaign = publication.campaign
    phase = publication.phase(now_ms)
    if phase not in REFUSAL_OF_PHASE:
        return None
    if phase is Phase.SCHEDULED and campaign.opens_at_ms - now_ms <= OPENING_MS:
        return None
    return edge_refusal(phase, campaign.slug)
