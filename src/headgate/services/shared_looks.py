"""One worker looks at the ledger, and all others take over what it found.

Theory of operation.  Workers want to know several times a second what has changed.  Whoever finds that the last
shared look is not fresh any more has the turn: it looks at the ledger, as it would without the store, and shows what
it found.  The others fetch only the parts whose versions are above those that they have, so nothing older ever comes
back, whatever the store fell back to.  Where there is nothing to show, because everybody has just begun or the store
was erased, they wait a moment for the one that looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from ..domain.campaign import Campaign
from ..ports.gate import GateAway
from ..ports.ledger import PoolStock
from ..ports.looks import Head, Parts, SharedLooks
from ..ports.replicas import Sources, T
from .book import Ledgers

PAUSE_S = 0.05
ASKS_MAX = 10
"""For half a second in all: longer than a look, and not much longer than a worker waits between two."""

AWAY_S = 1.0
"""After a call that failed the store is left alone so long."""

_log = structlog.get_logger("headgate.looks")


class _Seen:
    """What this worker has seen by shared looks, in the place of both sides of the ledger."""

    def __init__(self, persons_of: Callable[[int], list[bytes]]) -> None:
        self.persons_of = persons_of
        self.campaigns: dict[int, Campaign] = {}
        self.stock: dict[int, list[PoolStock]] = {}
        self.stock_versions: dict[int, int] = {}
        """The sum of its pools' versions, for each campaign."""
        self._known: dict[int, int] | None = None

    def learn(self, parts: Parts) -> None:
        """What is older than the known is ignored."""
        for campaign in parts.campaigns:
            known = self.campaigns.get(campaign.id)
            if known is None or known.version < campaign.version:
                self.campaigns[campaign.id] = campaign
        for campaign_id, stock in parts.stock.items():
            version = sum(pool.version for pool in stock)
            if self.stock_versions.get(campaign_id, 0) < version:
                self.stock[campaign_id] = stock
                self.stock_versions[campaign_id] = version

    def head(self) -> Head:
        return Head(self.versions(), dict(self.stock_versions))

    def versions(self) -> dict[int, int]:
        return {campaign.id: campaign.version for campaign in self.campaigns.values()}

    def campaign_by_id(self, campaign_id: int) -> Campaign:
        return self.campaigns[campaign_id]

    def stock_of(self, campaign_id: int) -> list[PoolStock]:
        return self.stock.get(campaign_id, [])

    def changed(self) -> bool:
        before, self._known = self._known, dict(self.stock_versions)
        return before != self._known


class SharedSources:
    """See `headgate.ports.replicas.Sources`.  What is read is older by a second at most than what `sources` give.

    `clock_s` never steps, `pause` waits (s).  Belongs to one thread, but for its counts.
    """

    def __init__(
        self,
        sources: Sources[Ledgers],
        looks: SharedLooks,
        clock_s: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._sources = sources
        self._looks = looks
        self._clock_s = clock_s
        self._pause = pause
        self._seen = _Seen(sources.primary.claims.persons_of)
        self._view = Ledgers(self._seen, self._seen)
        self._last: Ledgers | None = None
        self._away = False
        self._away_until_s = 0.0
        self.shared = 0
        """Looks that somebody else had made."""
        self.own = 0
        """Looks at the ledger."""

    @property
    def primary(self) -> Ledgers:
        return self._sources.primary

    def in_use(self) -> Mapping[int, bool]:
        return self._sources.in_use()

    def close(self) -> None:
        self._looks.close()
        self._sources.close()

    def read(self, call: Callable[[Ledgers], T]) -> T:
        if not self._shared():
            self._look()
        # Always of the view, also where the ledger was looked at: what it says has changed since it was last asked can
        # only be asked in one place.
        return call(self._view)

    def _look(self) -> None:
        self.own += 1
        self._sources.read(self._look_at)

    def _shared(self) -> bool:
        """Whether the view is as new as it has to be."""
        if self._clock_s() < self._away_until_s:
            return False
        try:
            seen = self._ask()
        except GateAway as error:
            if not self._away:
                _log.warning("looks_not_shared", error=str(error), action="each worker looks for itself")
            self._away = True
            self._away_until_s = self._clock_s() + AWAY_S
            return False
        self._away = False
        return seen

    def _ask(self) -> bool:
        for _ in range(ASKS_MAX):
            asked = self._looks.ask()
            if asked.turn:
                self._take_the_turn(asked.head)
                return True
            if asked.head is not None:
                return self._take_over(asked.head)
            self._pause(PAUSE_S)
        return False

    def _take_over(self, head: Head) -> bool:
        known, known_stock = self._seen.versions(), self._seen.stock_versions
        parts = self._looks.fetch(_above(head.versions, known), _above(head.stock, known_stock))
        if parts is None:
            return False
        self._seen.learn(parts)
        self.shared += 1
        return True

    def _take_the_turn(self, head: Head | None) -> None:
        """Raises LedgerError; then the turn passes to somebody else in time."""
        began_s = self._clock_s()
        self._look()
        seen, shown = self._seen, head or Head({}, {})
        campaigns = [seen.campaigns[each] for each in _unlike(seen.versions(), shown.versions)]
        stock = {each: seen.stock[each] for each in _unlike(seen.stock_versions, shown.stock)}
        self._looks.post(seen.head(), Parts(campaigns, stock), self._clock_s() - began_s)

    def _look_at(self, ledgers: Ledgers) -> None:
        # What a server says has changed is believed only where it was the last one that was read from, to the end.
        last, self._last = self._last, None
        changed = ledgers.claims.changed() or ledgers is not last
        versions = ledgers.claims.versions()
        new = _above(versions, self._seen.versions())
        campaigns = [ledgers.campaigns.campaign_by_id(each) for each in new]
        stock = {each: ledgers.claims.stock_of(each) for each in (versions if changed else new)}
        self._seen.learn(Parts(campaigns, stock))
        self._last = ledgers


def _above(found: Mapping[int, int], known: Mapping[int, int]) -> list[int]:
    """Of which something newer was found."""
    return [each for each, version in found.items() if known.get(each, -1) < version]


def _unlike(found: Mapping[int, int], shown: Mapping[int, int]) -> list[int]:
    return [each for each, version in found.items() if shown.get(each) != version]
