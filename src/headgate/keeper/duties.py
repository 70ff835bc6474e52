"""The keeper's turn: publish what the edge serves, keep a shared gate up with the ledger, let relays tell others.

Every duty is idempotent and starts from what the ledger says, so that a keeper that was killed leaves
nothing to repair.
"""

from __future__ import annotations

import structlog

from ..ports.gate import GateAway
from ..ports.ledger import Lease, LeaseLedger, LedgerBroken, LedgerError
from ..services.following import GateFollower
from ..services.relays import Relays
from .publisher import Publisher

LEASE = "keeper"
FIRST_EPOCH = 1
"""Before whom there was no keeper."""
LEASE_TTL_MS = 5_000
"""After a kill another keeper takes over within this time.  From it follows when a lease was renewed, by which replicas
of the ledger are judged, so all programs of a ledger have to agree on it."""

TURN_S = 0.5
"""Published state is at most this much older than the ledger, plus the time of a turn and, above a few pools, the
second for which a document is kept."""

_log = structlog.get_logger("headgate.keeper")


class Keeper:
    """One process's try at being the keeper; `turn` is called every TURN_S."""

    def __init__(
        self,
        leases: LeaseLedger,
        holder: str,
        publisher: Publisher,
        relays: Relays,
        follower: GateFollower | None = None,
    ) -> None:
        """`follower` keeps a gate up with the ledger, where nodes share one."""
        self._leases = leases
        self._holder = holder
        self._publisher = publisher
        self._relays = relays
        self._follower = follower
        self._gate_away = False
        self._lease: Lease | None = None
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
                self._publisher.turn()
                self._failing = False
                return False
            # By a clock of this process, so that it ends although nobody comes here any more.
            self._relays.hold(asked_s + LEASE_TTL_MS / 1000)
            if held is None and self._lease.epoch > FIRST_EPOCH:
                _log.info("keeper_took_over", holder=self._holder, epoch=self._lease.epoch)
            self._publisher.turn()
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

    def _follow(self) -> None:
        """Campaigns that are over are left to the ledger; the gate forgets them by itself."""
        if self._follower is None:
            return
        try:
            self._follower.turn(self._publisher.running())
            self._gate_away = False
        except GateAway as error:
            if not self._gate_away:
                _log.error("gate_not_followed", error=str(error))
            self._gate_away = True
