"""What a worker and its ledger process say to each other: MessagePack with a length before each message."""

from __future__ import annotations

import struct

import msgspec

from ...domain.claim import Claim, ClaimRequest, Granted
from ...domain.outcome import (
    CLOSED,
    KEY_REUSED,
    LIMIT_REACHED,
    NOT_OPEN,
    PAUSED,
    REDEEMED,
    SOLD_OUT,
    UNKNOWN_CAMPAIGN,
    UNKNOWN_CLAIM,
    WRONG_POOL,
    Refusal,
)
from ...ports.ledger import (
    BatchResult,
    LedgerBroken,
    LedgerDamaged,
    LedgerError,
    LedgerInDoubt,
    LedgerUnavailable,
    LedgerUnusable,
    PoolStock,
)
from ...ports.strangers import Strangers

LENGTH = struct.Struct("<I")

# A ledger's refusals are constants, so a number says which.
REFUSALS: tuple[Refusal, ...] = (
    SOLD_OUT,
    LIMIT_REACHED,
    NOT_OPEN,
    CLOSED,
    PAUSED,
    WRONG_POOL,
    KEY_REUSED,
    UNKNOWN_CAMPAIGN,
    UNKNOWN_CLAIM,
    REDEEMED,
)
_NUMBER = {id(refusal): number for number, refusal in enumerate(REFUSALS)}

_ERRORS: dict[str, type[LedgerError]] = {
    kind.__name__: kind for kind in (LedgerBroken, LedgerDamaged, LedgerInDoubt, LedgerUnavailable, LedgerUnusable)
}


class ConfirmCall(msgspec.Struct, array_like=True, tag=0):
    batch: list[ClaimRequest]
    fresh: list[bool]


class CancelCall(msgspec.Struct, array_like=True, tag=1):
    campaign_id: int
    person: bytes
    claim_id: str


class StrangersCall(msgspec.Struct, array_like=True, tag=2):
    strangers: Strangers


class ConfirmReply(msgspec.Struct, array_like=True, tag=0):
    """`decisions`: a claim, or the number of a refusal; `repeated`: positions of claims that existed before."""

    decisions: list[Claim | int]
    repeated: list[int]
    stock: list[PoolStock]


class CancelReply(msgspec.Struct, array_like=True, tag=1):
    ended: Claim | int
    stock: list[PoolStock]


class StrangersReply(msgspec.Struct, array_like=True, tag=2):
    said: list[int]
    uncounted: int


class ErrorReply(msgspec.Struct, array_like=True, tag=3):
    kind: str
    message: str


Call = ConfirmCall | CancelCall | StrangersCall
Reply = ConfirmReply | CancelReply | StrangersReply | ErrorReply

_encoder = msgspec.msgpack.Encoder()
decode_call = msgspec.msgpack.Decoder(Call).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def frame(message: Call | Reply) -> bytes:
    content = _encoder.encode(message)
    return LENGTH.pack(len(content)) + content


def confirm_reply(result: BatchResult) -> ConfirmReply:
    decisions: list[Claim | int] = []
    repeated = []
    for decision in result.decisions:
        if type(decision) is Granted:
            if decision.repeated:
                repeated.append(len(decisions))
            decisions.append(decision.claim)
        else:
            decisions.append(_NUMBER[id(decision)])
    return ConfirmReply(decisions, repeated, result.stock)


def batch_result(reply: ConfirmReply) -> BatchResult:
    repeated = frozenset(reply.repeated)
    decisions: list[Granted | Refusal] = [
        REFUSALS[decision] if type(decision) is int else Granted(decision, position in repeated)  # type: ignore[arg-type]
        for position, decision in enumerate(reply.decisions)
    ]
    return BatchResult(decisions, reply.stock)


def cancel_reply(ended: Claim | Refusal, stock: list[PoolStock]) -> CancelReply:
    return CancelReply(ended if isinstance(ended, Claim) else _NUMBER[id(ended)], stock)


def cancelled(reply: CancelReply) -> tuple[Claim | Refusal, list[PoolStock]]:
    return (reply.ended if isinstance(reply.ended, Claim) else REFUSALS[reply.ended]), reply.stock


def error_reply(error: Exception) -> ErrorReply:
    kind = type(error).__name__
    return ErrorReply(kind if kind in _ERRORS else LedgerInDoubt.__name__, str(error) or kind)


def raised(reply: ErrorReply) -> LedgerError:
    return _ERRORS[reply.kind](reply.message)
