"""Whatever is asked in whatever order: never too much, never too little, one place for each person."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.domain.allocation import Record, Rules, allocate
from headgate.domain.campaign import Control
from headgate.domain.claim import Claim, ClaimRequest, Granted, PersonKey, Status
from headgate.domain.outcome import (
    CLOSED,
    KEY_REUSED,
    LIMIT_REACHED,
    NOT_OPEN,
    PAUSED,
    SOLD_OUT,
    UNKNOWN_CAMPAIGN,
    WRONG_POOL,
    Refusal,
)

OPENS, CLOSES, NOW = 1_000, 2_000, 1_500


def rules(per_person: int = 1, control: Control = Control.ACTIVE) -> dict[int, Rules]:
    return {1: Rules(control, OPENS, CLOSES, per_person)}


class Mint:
    def __init__(self) -> None:
        self.made: list[Claim] = []

    def __call__(self, request: ClaimRequest, ordinal: int) -> Claim:
        seq = len(self.made) + 1
        claim = Claim(f"id{seq}", seq, f"p{request.pool_id}", ordinal, Status.CONFIRMED, f"code{seq}", NOW)
        self.made.append(claim)
        return claim


def ask(
    *requests: ClaimRequest,
    stock: dict[int, tuple[int, int]] | None = None,
    held: dict[PersonKey, list[Record]] | None = None,
    per_person: int = 1,
    now: int = NOW,
    control: Control = Control.ACTIVE,
) -> list[Granted | Refusal]:
    stock = {7: (1, 10)} if stock is None else stock
    return allocate(requests, rules(per_person, control), stock, {} if held is None else held, now, Mint())


def request(person: int = 1, pool: int = 7, key: bytes | None = None, body: bytes | None = None) -> ClaimRequest:
    return ClaimRequest(1, pool, bytes([person]), key, body)


def granted(decision: Granted | Refusal) -> Granted:
    assert isinstance(decision, Granted), decision
    return decision


@given(
    stock=st.dictionaries(st.integers(1, 4), st.integers(0, 5), min_size=1),
    asks=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=60),
    per_person=st.integers(1, 3),
)
def test_units_and_places_are_never_exceeded_and_never_left(
    stock: dict[int, int], asks: list[tuple[int, int]], per_person: int
) -> None:
    left = {pool: (1, units) for pool, units in stock.items()}
    decisions = ask(*(request(person, pool) for person, pool in asks), stock=left, per_person=per_person)
    new = [(who, granted) for who, granted in zip(asks, decisions, strict=True)
           if isinstance(granted, Granted) and not granted.repeated]  # fmt: skip
    for pool, units in stock.items():
        given_away = sum(1 for (_, asked), _ in new if asked == pool)
        assert given_away + left[pool][1] == units
        assert left[pool][1] >= 0
    for person in {person for person, _ in asks}:
        ordinals = sorted(granted.claim.ordinal for (who, _), granted in new if who == person)
        assert ordinals == list(range(1, len(ordinals) + 1))
        assert len(ordinals) <= per_person
    for (_, pool), decision in zip(asks, decisions, strict=True):
        if decision is SOLD_OUT:
            assert left[pool][1] == 0, "nobody is refused while there is stock"


def test_the_last_unit_goes_to_the_first_who_asked() -> None:
    first, second = ask(request(1), request(2), stock={7: (1, 1)})
    assert granted(first).claim.ordinal == 1
    assert second is SOLD_OUT


def test_asking_again_gives_the_same_claim_and_takes_nothing() -> None:
    stock = {7: (1, 5)}
    first, again = ask(request(), request(), stock=stock)
    assert granted(again).claim == granted(first).claim
    assert granted(again).repeated
    assert stock[7] == (1, 4)


def test_another_pool_is_another_wish_and_beyond_the_limit() -> None:
    _, other = ask(request(pool=7), request(pool=8), stock={7: (1, 5), 8: (1, 5)})
    assert other is LIMIT_REACHED


def test_a_key_finds_its_claim_even_after_cancellation() -> None:
    claim = Claim("id1", 1, "p7", -1, Status.CANCELLED, "code1", NOW)
    held = {(1, b"\x01"): [Record(claim, 7, b"key", b"body")]}
    (same,) = ask(request(key=b"key", body=b"body"), held=held)
    assert granted(same).claim == claim
    assert granted(same).repeated


def test_a_key_with_another_body_is_refused() -> None:
    _, other = ask(request(key=b"key", body=b"a"), request(key=b"key", body=b"b"), per_person=2)
    assert other is KEY_REUSED


def test_a_place_that_became_free_is_taken_again() -> None:
    ended = Claim("id1", 1, "p7", -1, Status.CANCELLED, "code1", NOW)
    second = Claim("id2", 2, "p7", 2, Status.CONFIRMED, "code2", NOW)
    held = {(1, b"\x01"): [Record(ended, 7, None, None), Record(second, 7, None, None)]}
    (new,) = ask(request(), held=held, per_person=2)
    assert granted(new).claim.ordinal == 1


def test_a_holder_is_answered_even_when_the_campaign_is_over() -> None:
    claim = Claim("id1", 1, "p7", 1, Status.CONFIRMED, "code1", NOW)
    held = {(1, b"\x01"): [Record(claim, 7, None, None)]}
    holder, stranger = ask(request(1), request(2), held=held, now=CLOSES)
    assert granted(holder).claim == claim
    assert stranger is CLOSED


def test_what_cannot_be_is_named() -> None:
    assert ask(request(), now=OPENS - 1) == [NOT_OPEN]
    assert ask(request(), control=Control.PAUSED) == [PAUSED]
    assert ask(request(pool=99)) == [WRONG_POOL]
    assert ask(request(), stock={7: (2, 5)}) == [WRONG_POOL], "a pool of another campaign"
    assert ask(ClaimRequest(9, 7, b"x")) == [UNKNOWN_CAMPAIGN]
