"""Reading what many persons hold at once, on SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from headgate.domain.claim import Status
from tests.storage.house import House, claim_of

PERSONS = 512


@pytest.fixture
def house(place: Path | sa.URL) -> Iterator[House]:
    built = House(place)
    yield built
    built.close()


def test_each_person_gets_their_own_of_each_campaign(house: House) -> None:
    house.create("lamps", per_person=3)
    masks, lamps = (house.campaigns.campaign(slug).id for slug in ("masks", "lamps"))
    first = claim_of(house.ask(house.request(1))[0])
    second = claim_of(house.ask(house.request(2, "b"))[0])
    several = [claim_of(house.ask(house.request(1, "b", "lamps", key=bytes([number])))[0]) for number in (1, 2)]
    house.claims.cancel(lamps, bytes([1]) * 16, several[0].id)
    keys = [(campaign, bytes([person]) * 16) for campaign in (masks, lamps) for person in (1, 2, 3)]
    found = house.claims.claims_of(keys)
    assert {key: [claim.id for claim in claims] for key, claims in found.items()} == {
        (masks, bytes([1]) * 16): [first.id],
        (masks, bytes([2]) * 16): [second.id],
        (masks, bytes([3]) * 16): [],
        (lamps, bytes([1]) * 16): [claim.id for claim in several],
        (lamps, bytes([2]) * 16): [],
        (lamps, bytes([3]) * 16): [],
    }
    assert [claim.status for claim in found[lamps, bytes([1]) * 16]] == [Status.CANCELLED, Status.CONFIRMED]


def test_as_many_as_a_batch_may_hold(house: House) -> None:
    claim = claim_of(house.ask(house.request(1))[0])
    masks = house.campaigns.campaign("masks").id
    keys = [(masks, bytes([1]) * 14 + number.to_bytes(2, "big")) for number in range(PERSONS)]
    found = house.claims.claims_of(keys)
    assert {key: claims for key, claims in found.items() if claims} == {(masks, bytes([1]) * 16): [claim]}
    assert list(found) == keys
