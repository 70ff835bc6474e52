"""The keeper's turn on a real ledger and real files, with a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headgate.keeper.duties import LEASE_TTL_MS
from headgate.ports.ledger import LedgerBroken, LedgerDamaged, LedgerError, LedgerInDoubt, LedgerUnavailable
from headgate.services.files import WRITING_MS
from tests.fakes import no_news
from tests.keeper.house import SECOND_S, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    yield built
    built.close()


def test_what_a_killed_keeper_wrote_aside_is_removed_by_the_one_that_follows(house: House) -> None:
    house.create()
    house.keeper().turn()
    aside = house.public / "state" / ".masks.json.x7k2"
    aside.write_bytes(b"half")
    for age_ms, stays in ((WRITING_MS - 1, True), (WRITING_MS + 1, False)):
        moment_s = (house.clock.ms - age_ms) / 1000
        os.utime(aside, (moment_s, moment_s))
        house.keeper().turn()
        assert aside.exists() is stays, "it may be a file that somebody is writing at this moment"
    assert house.files() == ["state/masks.json"]


def test_another_keeper_takes_over_when_the_lease_has_run_out(house: House) -> None:
    house.create()
    first, second = house.keeper("first"), house.keeper("second")
    with capture_logs() as logs:
        assert first.turn()
        house.clock.ms += LEASE_TTL_MS - 1
        assert not second.turn()
        house.clock.ms += 1
        assert second.turn()
        assert not first.turn(), "a keeper that slept believes that it still holds the lease"
    said = [(log["event"], log["holder"]) for log in logs]
    assert said == [("keeper_took_over", "second"), ("keeper_lost_lease", "first")]


def test_who_does_not_hold_the_lease_publishes_too(house: House) -> None:
    house.create()
    first, second = house.keeper("first"), house.keeper("second")
    assert first.turn()
    told = house.state()["server_time"]
    house.clock.forward(SECOND_S)
    assert not second.turn()
    assert house.state()["server_time"] > told, "its own edge would serve what is old"


def test_every_turn_renews_the_lease(house: House) -> None:
    first, second = house.keeper("first"), house.keeper("second")
    for _ in range(5):
        assert first.turn()
        house.clock.ms += LEASE_TTL_MS - 1
        assert not second.turn()


def test_a_keeper_that_stops_gives_the_lease_back(house: House) -> None:
    first, second = house.keeper("first"), house.keeper("second")
    assert first.turn()
    first.stop()
    assert second.turn()
    first.stop()
    assert second.turn(), "a lease that was lost was given back"
    assert not first.turn()


def test_an_old_lease_does_not_give_back_a_newer_one_of_the_same_holder(house: House) -> None:
    old = house.leases.acquire("keeper", "first", LEASE_TTL_MS)
    assert old is not None
    for holder in ("second", "first"):
        house.clock.ms += LEASE_TTL_MS
        newer = house.leases.acquire("keeper", holder, LEASE_TTL_MS)
        assert newer is not None
        assert newer.epoch > old.epoch
    house.leases.release(old)
    assert house.leases.acquire("keeper", "second", LEASE_TTL_MS) is None


FAILURES = [LedgerUnavailable("busy"), LedgerInDoubt("in doubt"), LedgerDamaged("damaged"), LedgerError("failed")]


@pytest.mark.parametrize("error", FAILURES, ids=[type(error).__name__ for error in FAILURES])
@pytest.mark.parametrize("where", ["acquire", "versions", "stock_of", "campaign_by_id"])
def test_a_ledger_that_fails_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch, where: str, error: LedgerError
) -> None:
    house.create()
    keeper = house.keeper()
    part = {"acquire": house.leases, "campaign_by_id": house.campaigns}.get(where, house.claims)

    def fails(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched, capture_logs([no_news]) as logs:
        patched.setattr(part, where, fails)
        for _ in range(3):
            keeper.turn()
    assert [log["event"] for log in logs] == ["keeper_turn_failed"], "a failure that lasts is told once"
    assert str(error) in logs[0]["error"]
    assert keeper.turn()
    assert house.state()["phase"] == "open"


def test_storage_that_cannot_be_trusted_any_more_ends_the_keeper(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise LedgerBroken("a sync has failed")

    monkeypatch.setattr(house.claims, "versions", fails)
    with pytest.raises(LedgerBroken):
        house.keeper().turn()


def test_a_lease_that_cannot_be_given_back_is_no_failure_of_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = house.keeper()
    keeper.turn()

    def fails(*_: object) -> None:
        raise LedgerUnavailable("busy")

    monkeypatch.setattr(house.leases, "release", fails)
    with capture_logs([no_news]) as logs:
        keeper.stop()
    assert [log["event"] for log in logs] == ["lease_not_released"]
