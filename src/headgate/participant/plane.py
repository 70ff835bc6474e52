"""What the routes of the participant plane work with; wired in `headgate.bootstrap`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ..domain.outcome import NO_SESSION, STORE_UNAVAILABLE, UNKNOWN_CAMPAIGN, Refusal
from ..http.address import ClientAddress
from ..http.bearer import bearer_token
from ..http.bodies import Bodies
from ..http.cookies import session_cookie
from ..ports.clock import Clock
from ..ports.entropy import Entropy
from ..ports.pending import Pending
from ..ports.telemetry import Telemetry
from ..services.book import Catalogue, Entry
from ..services.claiming import ClaimDesk
from ..services.limits import Limits
from ..services.queued import QueuedDesk
from ..services.sessions import Session, Sessions
from .answers import overloaded
from .claims import ClaimForm
from .pages import Pages
from .protocol import RequestHeaders, Scope
from .reader import Reader
from .refused import Refused


@dataclass(slots=True)
class Shard:
    """What serves the campaigns of one ledger.  `permits` bounds the claims in progress; `progress` counts them.

    Each ledger has permits of its own, so that one which hangs takes only its own campaigns along.
    """

    form: ClaimForm
    desk: ClaimDesk
    reader: Reader
    queued: QueuedDesk | None
    permits: int
    progress: int = 0

    @contextmanager
    def permit(self) -> Iterator[None]:
        """A place among the claims in progress; raises Refused.

        It is taken for what the ledger does, never while a client sends: whoever stops in the middle of a
        body would keep a place that another could use.
        """
        if self.progress >= self.permits:
            raise Refused(overloaded())
        self.progress += 1
        try:
            yield
        finally:
            self.progress -= 1


@dataclass
class Plane:
    """One worker's parts.

    The methods are the steps that routes have in common; `ClaimRoute` takes the same ones in line.
    """

    clock: Clock
    entropy: Entropy
    catalogue: Catalogue
    shards: Mapping[str, Shard]
    sessions: Sessions
    addresses: ClientAddress
    limits: Limits
    telemetry: Telemetry
    pages: Pages
    bodies: Bodies
    current: Callable[[], bool]
    close: Callable[[], None]

    def count_address(self, scope: Scope, headers: RequestHeaders) -> float | Pending[float]:
        """Count a request against the limit per address; the seconds to wait, 0 where it may go on."""
        if not self.limits.of_addresses:
            return 0.0
        return self.limits.address(self.address_of(scope, headers))

    def address_of(self, scope: Scope, headers: RequestHeaders) -> str:
        """Whose limit a request is counted against."""
        return self.addresses.of(scope.client, headers.get_all)

    def entry(self, slug: str) -> Entry:
        """Raises Refused."""
        entry = self.catalogue.get(slug)
        if entry is None:
            raise Refused(self.unknown())
        return entry

    def unknown(self) -> Refusal:
        """What is said of a campaign that is in no book."""
        return UNKNOWN_CAMPAIGN if self.catalogue.read else STORE_UNAVAILABLE

    def shard_of(self, entry: Entry) -> Shard:
        return self.shards[entry.shard]

    def session(self, headers: RequestHeaders) -> Session | None:
        """The session of a request: a bearer token's, else the cookie's."""
        authorization = headers.get("authorization")
        token = session_cookie(headers.get("cookie")) if authorization is None else bearer_token(authorization)
        return self.sessions.check(token, self.clock.now_ms())

    def own_session(self, headers: RequestHeaders) -> Session:
        """Raises Refused."""
        session = self.session(headers)
        if session is None:
            raise Refused(NO_SESSION)
        return session
