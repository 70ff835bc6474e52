"""A gate that takes a holder for new must cost nobody their answer, whatever the ledger would refuse a stranger."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.domain.campaign import Control
from headgate.domain.claim import Granted, Status
from headgate.domain.outcome import REDEEMED, SOLD_OUT, Refusal
from tests.storage.test_sqlite_claims import House, claim_of


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "ledger.db")


def again(house: House, *, batch_with_a_stranger: bool = False) -> Granted | Refusal:
    asked = [house.request(1)]
    if batch_with_a_stranger:
        asked.insert(0, house.request(9))
    *_, mine = house.ask(*asked, fresh=True)
    return mine


def test_a_holder_is_not_told_that_the_pool_is_empty(house: House) -> None:
    first, _ = house.ask(house.request(1), house.request(2))
    # One batch that gives nothing makes the ledger look without writing; both ways have to be right.
    for _ in range(2):
        assert claim_of(again(house)) == claim_of(first)
    assert claim_of(again(house, batch_with_a_stranger=True)) == claim_of(first)
    assert house.ask(house.request(3)) == [SOLD_OUT]
    assert house.campaigns.tally("masks").ok


def test_a_holder_is_not_told_that_the_campaign_is_paused_or_over(house: House) -> None:
    (first,) = house.ask(house.request(1))
    house.campaigns.control("masks", Control.PAUSED, expected=Control.ACTIVE, command="pause", actor="test")
    assert claim_of(again(house)) == claim_of(first)
    house.clock.ms += 2_000
    assert claim_of(again(house)) == claim_of(first)


def test_the_one_unit_left_goes_to_the_stranger_behind_a_holder_who_asked_again(house: House) -> None:
    (first,) = house.ask(house.request(1))
    mine, theirs = house.ask(house.request(1), house.request(2))
    assert claim_of(mine) == claim_of(first)
    assert isinstance(theirs, Granted)
    assert not theirs.repeated


def test_what_was_redeemed_is_not_given_back(house: House) -> None:
    claim = claim_of(house.ask(house.request(1))[0])
    house.claims._connection.execute("UPDATE claim SET status = 'redeemed'")
    ended, stock = house.claims.cancel(house.campaign.id, bytes([1]) * 16, claim.id)
    assert (ended, stock) == (REDEEMED, [])
    (held,) = house.claims.claims_of([key := (house.campaign.id, bytes([1]) * 16)])[key]
    assert held.status is Status.REDEEMED
    assert house.campaigns.tally("masks").ok


def test_pools_that_are_wrong_by_the_same_number_do_not_make_each_other_right(house: House) -> None:
    assert house.campaigns.tally("masks").ok
    house.ask(house.request(1, 1))
    house.claims._connection.execute("UPDATE pool SET remaining = remaining - 1 WHERE code = 'a'")
    house.claims._connection.execute("UPDATE pool SET remaining = remaining + 1 WHERE code = 'b'")
    tally = house.campaigns.tally("masks")
    assert tally.available + tally.confirmed == tally.capacity
    assert (tally.unbalanced_pools, tally.ok) == (2, False)


def test_a_close_is_not_undone_by_a_resume_that_looked_before_it(house: House) -> None:
    house.campaigns.control("masks", Control.CLOSED, expected=Control.ACTIVE, command="close", actor="test")
    late = house.campaigns.control("masks", Control.ACTIVE, expected=Control.PAUSED, command="resume", actor="test")
    assert late is None
    assert house.campaigns.campaign("masks").control is Control.CLOSED
