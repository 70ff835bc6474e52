"""The claim routes: decode, ask the desk, encode."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..domain.campaign import NO_POOL, REFUSAL_OF_PHASE, Campaign, Verification
from ..domain.claim import Claim, ClaimRequest, Queued
from ..domain.outcome import (
    NOT_VERIFIED,
    SYNTHETIC,
    WRONG_POOL,
    Outcome,
    Refusal,
)
from ..http.bodies import media_type
from ..ports.gate import Admission, Gate
from ..ports.pending import Pending
from ..ports.queue import Enqueued
from ..ports.telemetry import Telemetry
from ..services.book import Entry
from ..services.claiming import ClaimDesk, Decision
from ..services.limits import Limits
from ..services.publishing import iso
from ..services.queued import QueuedDesk
from ..services.sessions import Session
from ..services.strangers import StrangerDesk
from .answers import OF_CAMPAIGN, failure, too_many

KEY_CHARS_MAX = 255
"""An Idempotency-Key is a name, not a document."""

GATE_SAMPLE = 64
"""One decision of the gate in so many is timed: the clock costs as much as the gate."""

BAD_JSON = Refusal(Outcome.INVALID, 'The body is not the JSON that this route takes: {"pool": "…"}.')
BAD_MEDIA_TYPE = Refusal(Outcome.INVALID, "Send the body as application/json.", reason="media_type")
BAD_KEY = Refusal(
    Outcome.INVALID, f"Idempotency-Key has to be 1 to {KEY_CHARS_MAX} printable ASCII characters.", reason="bad_key"
)


Told = Decision | Queued
"""What a request for a claim comes to."""

ToCome = Pending[Decision] | Pending[Enqueued] | Pending[Told]


class ClaimBody(msgspec.Struct):
    """What a claim is asked with; `fields`, `signals` and `ticket` are objects for other parts to read."""

    pool: str
    fields: dict[str, Any] | None = None
    signals: dict[str, Any] | None = None
    ticket: str | None = None


_decode_claim = msgspec.json.Decoder(ClaimBody).decode


def parse_claim(body: bytes) -> ClaimBody | Refusal:
    try:
        return _decode_claim(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return BAD_JSON


class TimeText:
    """ISO texts of moments in milliseconds; all claims of a batch share one moment."""

    def __init__(self) -> None:
        self._at_ms = -1
        self._text = ""

    def of(self, at_ms: int) -> str:
        if at_ms != self._at_ms:
            self._text = iso(at_ms)
            self._at_ms = at_ms
        return self._text


class ClaimForm:
    """From a session, a pool's name and a key to a decision; shared by the JSON route and the form."""

    def __init__(
        self,
        desk: ClaimDesk,
        gate: Gate,
        limits: Limits,
        telemetry: Telemetry,
        key: bytes,
        queued: QueuedDesk | None = None,
        strangers: StrangerDesk | None = None,
    ) -> None:
        """`queued` is the desk of queued campaigns, where requests can wait; `strangers` comes with a shared gate."""
        self._queued = queued
        self.strangers = strangers
        self._limits = limits
        self._telemetry = telemetry
        self._asked = 0
        self._desk = desk
        self._gate = gate
        self._key = hashlib.blake2b(key, digest_size=32, person=b"hg-idempotency").digest()

    def needs_body(self, entry: Entry, now_ms: int) -> bool:
        """Whether `refuse_early` will most likely refuse nobody."""
        if entry.takes_claims(now_ms):
            return True
        return not (entry.scheduled(now_ms) or self._gate.knows_all(entry.campaign.id))

    def refuse_early(self, entry: Entry, session: Session, now_ms: int) -> Refusal | None:
        """What can be refused without reading the request's body."""
        refusal = not_eligible(entry.campaign, session)
        if refusal is not None or entry.takes_claims(now_ms):
            return refusal
        # Nobody who may hold a claim is told "no" without the ledger having been asked.
        if not entry.scheduled(now_ms) and self._gate.knows(entry.campaign.id, session.person):
            return None
        return REFUSAL_OF_PHASE[entry.publication.phase(now_ms)]

    def ask(self, entry: Entry, session: Session, key: str | None, body: ClaimBody) -> Told | ToCome:
        """The decision where it can be made at once, else one to come."""
        waiting: float | Pending[float] = 0.0
        if entry.limited:
            device = (body.signals or {}).get("device")
            # Any other name would be counted as a pool of its own.
            pool = body.pool if body.pool in entry.pool_ids else None
            device = device if isinstance(device, str) else None
            waiting = self._limits.claim(entry.campaign, session.person, device, pool)
        if isinstance(waiting, Pending):
            return self._decide_later(waiting, entry, session, key, body)
        return too_many(waiting, OF_CAMPAIGN) if waiting else self._decide(entry, session, key, body)

    def _decide_later(
        self, waiting: Pending[float], entry: Entry, session: Session, key: str | None, body: ClaimBody
    ) -> Pending[Told]:
        """Once the limits have been counted."""
        decided: Pending[Told] = Pending(waiting.get_loop())

        def counted(_waiting: Pending[float]) -> None:
            wait_s = waiting.result()
            decision: Told | ToCome
            try:
                decision = too_many(wait_s, OF_CAMPAIGN) if wait_s else self._decide(entry, session, key, body)
            except Exception as error:  # noqa: BLE001 -- one request's fault is logged and answered, and hurts no other
                decision = failure(error, "claims")
            if isinstance(decision, Pending):
                decision.add_done_callback(lambda pending: decided.settle(pending.result()))
            else:
                decided.settle(decision)

        waiting.add_done_callback(counted)
        return decided

    def _decide(self, entry: Entry, session: Session, key: str | None, body: ClaimBody) -> Told | ToCome:
        campaign_id = entry.campaign.id
        pool_id = entry.pool_ids.get(body.pool)
        if pool_id is None:
            # A key that was used before is answered by what it was used for, and only the ledger knows that.
            if key is None or not self._gate.knows(campaign_id, session.person):
                return WRONG_POOL
            pool_id = NO_POOL
        self._asked += 1
        if self._asked % GATE_SAMPLE:
            admission = self._gate.admit(campaign_id, pool_id, session.person)
        else:
            started = time.perf_counter()
            admission = self._gate.admit(campaign_id, pool_id, session.person)
            self._telemetry.gate(time.perf_counter() - started)
        if isinstance(admission, Refusal):
            return admission
        if key is None:
            request = ClaimRequest(campaign_id, pool_id, session.person)
        else:
            content = msgspec.json.encode(body, order="sorted")
            request = ClaimRequest(
                campaign_id, pool_id, session.person, self._digest(key.encode()), self._digest(content)
            )
        if entry.queued:
            assert self._queued is not None, "entries are queued only where requests can wait"
            return self._queued.submit(entry, request)
        return self._desk.submit(request, fresh=admission is Admission.FRESH)

    def _digest(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=16, key=self._key).digest()


def not_eligible(campaign: Campaign, session: Session) -> Refusal | None:
    if session.synthetic and not campaign.rehearsal:
        return SYNTHETIC
    if campaign.verification is Verification.PHONE and not session.verified:
        return NOT_VERIFIED
    return None


def usable_key(key: str | None) -> bool:
    return key is None or (0 < len(key) <= KEY_CHARS_MAX and key.isascii() and key.isprintable())


def granted_body(claim: Claim, time_text: Callable[[int], str]) -> bytes:
    """Pool codes, ids and codes are restricted to characters that JSON does not escape."""
    return (
        f'{{"outcome":"confirmed","claim":{{"id":"{claim.id}","code":"{claim.code}","pool":"{claim.pool_code}",'
        f'"ordinal":{claim.ordinal},"at":"{time_text(claim.created_at_ms)}","status":"' + claim.status + '"}}'
    ).encode()


def claim_object(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "code": claim.code,
        "pool": claim.pool_code,
        "ordinal": claim.ordinal,
        "at": iso(claim.created_at_ms),
        "status": claim.status,
    }


def is_json(content_type: str | None) -> bool:
    return content_type == "application/json" or media_type(content_type) == "application/json"
