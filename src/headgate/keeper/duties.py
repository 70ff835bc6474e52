"""The keeper's turn: publish what the edge serves, keep a shared gate up with the ledger, let relays tell others.

Every duty is idempotent and starts from what the ledger says, so that a keeper that was killed leaves
nothing to repair.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from ..domain.campaign import Phase
from ..ports.clock import Clock
from ..ports.gate import GateAway
from ..ports.ledger import CampaignLedger, ClaimLedger, Lease, LeaseLedger, LedgerBroken, LedgerError
from ..services import files
from ..services.following import GateFollower
from ..services.publishing import Publication
from ..services.relays import Relays
from ..services.stock import StockBoard

LEASE = "keeper"
FIRST_EPOCH = 1
"""Before whom there was no keeper."""
LEASE_TTL_MS = 5_000
"""After a kill another keeper takes over within this time.  From it follows when a lease was renewed, by which replicas
of the ledger are judged, so all programs of a ledger have to agree on it."""

TURN_S = 0.5
"""Published state is at most this much older than the ledger, plus the time of a turn and, above a few pools, the
second for which a document is kept."""

REFUSING = frozenset({Phase.SOLD_OUT, Phase.CLOSED, Phase.PAUSED, Phase.SCHEDULED})
"""Phases in which the edge may refuse every claim by itself: the flag file exists and names the phase."""

_log = structlog.get_logger("headgate.keeper")


class Keeper:
    """One process's try at being the keeper; `turn` is called every TURN_S.

    Files in `public_dir`: `state/SLUG.json` and `.json.gz` (the state answer), `flags/SLUG.closed` (one
    line, the phase that refuses; absent while claims are taken).
    """

    def __init__(
        self,
        campaigns: CampaignLedger,
        claims: ClaimLedger,
        leases: LeaseLedger,
        clock: Clock,
        public_dir: Path,
        holder: str,
        relays: Relays,
        follower: GateFollower | None = None,
    ) -> None:
        """`follower` keeps a gate up with the ledger, where nodes share one."""
        self._relays = relays
        self._follower = follower
        self._gate_away = False
        self._campaigns = campaigns
        self._claims = claims
        self._leases = leases
        self._clock = clock
        self._state_dir = public_dir / "state"
        self._flag_dir = public_dir / "flags"
        self._holder = holder
        self._lease: Lease | None = None
        self._publications: dict[int, Publication] = {}
        self._written: dict[Path, bytes] = {}
        self._unreadable: set[int] = set()
        self._failing = False

    def turn(self) -> bool:
        """One round; False where another keeper holds the lease.

        A store or disk that fails is logged and tried again, but for LedgerBroken, which is raised: this
        process has to end, and another one to recover from what is on disk.
        """
        try:
            asked_s = self._relays.now_s()
            held, self._lease = self._lease, self._leases.acquire(LEASE, self._holder, LEASE_TTL_MS)
            if self._lease is None:
                if held is not None:
                    _log.warning("keeper_lost_lease", holder=self._holder)
                self._relays.let_go()
                self._written.clear()
                return False
            # By a clock of this process, so that it ends although nobody comes here any more.
            self._relays.hold(asked_s + LEASE_TTL_MS / 1000)
            if held is None:
                if self._lease.epoch > FIRST_EPOCH:
                    _log.info("keeper_took_over", holder=self._holder, epoch=self._lease.epoch)
                for directory in (self._state_dir, self._flag_dir):
                    files.remove_left_over(directory, self._clock.now_ms())
            self._publish()
            self._follow()
            self._relays.turn()
            self._failing = False
        except LedgerBroken:
            raise
        except (LedgerError, OSError) as error:
            if not self._failing:
                _log.error("keeper_turn_failed", error=str(error))
            self._failing = True
        return True

    def stop(self) -> None:
        """Give the lease back, so that the next keeper need not wait for it to expire."""
        self._relays.stop()
        if self._lease is not None:
            try:
                self._leases.release(self._lease)
            except LedgerError as error:
                _log.error("lease_not_released", error=str(error))

    def _publish(self) -> None:
        versions = self._claims.versions()
        for campaign_id, version in versions.items():
            try:
                self._publish_campaign(campaign_id, version)
            except LedgerError:
                raise
            except Exception:  # noqa: BLE001 -- a campaign that this program cannot show must not keep others from being published
                if campaign_id not in self._unreadable:
                    _log.exception("campaign_not_published", campaign=campaign_id)
                self._unreadable.add(campaign_id)
            else:
                self._unreadable.discard(campaign_id)

    def _follow(self) -> None:
        """Campaigns that are over are left to the ledger; the gate forgets them by itself."""
        if self._follower is None:
            return
        now_ms = self._clock.now_ms()
        current = [
            campaign_id
            for campaign_id, publication in self._publications.items()
            if publication.campaign.opens_at_ms <= now_ms < publication.campaign.closes_at_ms
        ]
        try:
            self._follower.turn(current)
            self._gate_away = False
        except GateAway as error:
            if not self._gate_away:
                _log.error("gate_not_followed", error=str(error))
            self._gate_away = True

    def _publish_campaign(self, campaign_id: int, version: int) -> None:
        publication = self._publications.get(campaign_id)
        if publication is None or publication.campaign.version != version:
            publication = Publication(self._campaigns.campaign_by_id(campaign_id), StockBoard())
            self._publications[campaign_id] = publication
        publication.board.learn(self._claims.stock_of(campaign_id))
        self._publish_one(publication)

    def _publish_one(self, publication: Publication) -> None:
        slug = publication.campaign.slug
        now_ms = self._clock.now_ms()
        document, compressed = publication.document(now_ms)
        self._write(self._state_dir / f"{slug}.json", document)
        packed = self._state_dir / f"{slug}.json.gz"
        if compressed:
            self._write(packed, compressed)
        else:
            self._remove(packed)
        flag = self._flag_dir / f"{slug}.closed"
        phase = publication.phase(now_ms)
        if phase in REFUSING:
            self._write(flag, f"{phase}\n".encode())
        else:
            self._remove(flag)

    def _remove(self, path: Path) -> None:
        self._written.pop(path, None)
        path.unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        """Atomically, and only where it changed: a reader sees the old file or the new one, never a part."""
        if self._written.get(path) == content and path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, content)
        self._written[path] = content
