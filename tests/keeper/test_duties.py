"""The keeper's turn on a real ledger and real files, with a clock that the test moves."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headgate.domain.campaign import Control, Phase
from headgate.domain.claim import ClaimRequest, Granted
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.keeper.duties import LEASE_TTL_MS, Keeper
from headgate.ports.ledger import LedgerBroken, LedgerDamaged, LedgerError, LedgerInDoubt, LedgerUnavailable
from headgate.services.following import GateFollower
from headgate.services.operating import command
from headgate.services.publishing import GZIP_MIN_BYTES
from headgate.services.relaying import Tenure
from headgate.services.relays import Relays
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.leases import SqlLeases
from headgate.storage.sql.outbox import SqlOutbox
from headgate.storage.sql.sqlite_claims import SqliteClaims
from tests.fakes import NOON_MS, HandClock, SeededEntropy, no_news

HOUR_MS = 3_600_000
SECOND_S = 1.0
"""After this any document is made anew."""


class House:
    """A ledger, and keepers of it; `public` is what a web server in front would serve."""

    def __init__(self, directory: Path) -> None:
        self.clock = HandClock()
        self.public = directory / "public"
        self.engine = open_engine(directory / "ledger.db")
        upgrade(self.engine)
        self.campaigns = SqlCampaigns(self.engine, self.clock)
        self.claims = SqliteClaims(directory / "ledger.db", self.clock, SeededEntropy())
        self.leases = SqlLeases(self.engine, self.clock)

    def keeper(
        self, holder: str = "first", follower: GateFollower | None = None, relays: Relays | None = None
    ) -> Keeper:
        relays = relays or Relays(SqlOutbox(self.engine), [], Tenure(lambda: self.clock.ms / 1000), self.clock)
        return Keeper(self.campaigns, self.claims, self.leases, self.clock, self.public, holder, relays, follower)

    def create(self, slug: str = "masks", pools: int = 1, opens_ms: int = NOON_MS - HOUR_MS) -> None:
        opens, closes = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (opens_ms, opens_ms + 2 * HOUR_MS))
        several = [PoolDefinition(f"p{number}", 1, {"en": f"Shop {number}"}) for number in range(pools)]
        self.campaigns.create(CampaignDefinition(slug, {"en": "Masks"}, opens, closes, pools=several), actor="test")

    def sell(self, pool_id: int = 1) -> None:
        batch = [ClaimRequest(1, pool_id, pool_id.to_bytes(16, "big"))]
        (decision,) = self.claims.confirm(batch, [True]).decisions
        assert isinstance(decision, Granted)

    def state(self, slug: str = "masks") -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.public / "state" / f"{slug}.json").read_bytes())
        return state

    def packed(self, slug: str = "masks") -> Path:
        return self.public / "state" / f"{slug}.json.gz"

    def flag(self, slug: str = "masks") -> str | None:
        path = self.public / "flags" / f"{slug}.closed"
        return path.read_text() if path.exists() else None

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.public)) for path in self.public.rglob("*") if path.is_file())

    def close(self) -> None:
        self.claims.close()
        self.engine.dispose()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    yield built
    built.close()


def test_the_flag_follows_the_phase(house: House) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    keeper = house.keeper()

    def turned() -> tuple[str, str | None]:
        house.clock.forward(SECOND_S)
        assert keeper.turn()
        return house.state()["phase"], house.flag()

    seen = [turned()]
    command(house.campaigns, "masks", "pause", actor="test")
    seen.append(turned())
    command(house.campaigns, "masks", "resume", actor="test")
    house.clock.forward(3_600)
    seen.append(turned())
    house.sell()
    seen.append(turned())
    house.campaigns.topup("masks", "p0", 1, actor="test")
    seen.append(turned())
    house.clock.forward(2 * 3_600)
    seen.append(turned())
    assert seen == [
        ("scheduled", "scheduled\n"),
        ("paused", "paused\n"),
        ("open", None),
        ("sold_out", "sold_out\n"),
        ("open", None),
        ("closed", "closed\n"),
    ]
    assert {phase for phase, _ in seen} == set(Phase)


def test_opening_is_never_published_late(house: House) -> None:
    house.create(pools=30, opens_ms=NOON_MS + 1)
    keeper = house.keeper()
    keeper.turn()
    assert (house.state()["phase"], house.flag()) == ("scheduled", "scheduled\n")
    house.clock.ms += 1
    keeper.turn()
    assert (house.state()["phase"], house.flag()) == ("open", None)


def test_a_large_state_is_there_compressed_too(house: House) -> None:
    house.create(pools=50)
    house.create("small")
    house.keeper().turn()
    assert house.files() == ["state/masks.json", "state/masks.json.gz", "state/small.json"]
    assert json.loads(gzip.decompress(house.packed().read_bytes())) == house.state()
    assert [pool["state"] for pool in house.state()["pools"]] == ["available"] * 50
    for path in house.public.rglob("*.json*"):
        assert path.stat().st_mode & 0o777 == 0o644, "the web server in front is another user"


def test_the_compressed_state_is_never_older_than_the_plain_one(house: House) -> None:
    house.create(pools=50)
    keeper = house.keeper()
    keeper.turn()
    house.sell(7)
    house.clock.forward(SECOND_S)
    keeper.turn()
    assert house.state()["pools"][6]["state"] == "sold_out"
    assert json.loads(gzip.decompress(house.packed().read_bytes())) == house.state()


def test_a_state_that_has_become_small_leaves_no_old_compressed_one(house: House) -> None:
    house.create(opens_ms=NOON_MS + 1_000)
    keeper = house.keeper()
    keeper.turn()
    plain = house.public / "state" / "masks.json"
    # The title brings the state of the scheduled campaign to the length from which on it is compressed, and that of
    # the open one below it.
    title = json.dumps({"en": "M" * (GZIP_MIN_BYTES - plain.stat().st_size + len("Masks"))})
    with house.engine.execution_options(immediate=True).begin() as connection:
        connection.exec_driver_sql("UPDATE campaign SET title = ?, version = version + 1", (title,))
    keeper.turn()
    assert plain.stat().st_size >= GZIP_MIN_BYTES
    assert house.packed().exists()
    house.clock.forward(1)
    keeper.turn()
    assert house.state()["phase"] == "open"
    assert plain.stat().st_size < GZIP_MIN_BYTES
    assert not house.packed().exists(), "a web server would go on to serve it in place of the plain one"


def test_a_reader_never_sees_a_part_of_a_file(house: House) -> None:
    house.create(pools=50)
    keeper = house.keeper()
    keeper.turn()
    with (house.public / "state" / "masks.json").open("rb", buffering=0) as reader:
        begin = reader.read(100)
        house.sell(1)
        house.clock.forward(SECOND_S)
        keeper.turn()
        old = json.loads(begin + reader.readall())
    assert old["pools"][0]["state"] == "available"
    assert house.state()["pools"][0]["state"] == "sold_out"
    assert house.files() == ["state/masks.json", "state/masks.json.gz"], "what was written aside is left behind"


def test_what_a_killed_keeper_wrote_aside_is_removed_by_the_one_that_follows(house: House) -> None:
    house.create()
    first, second = house.keeper("first"), house.keeper("second")
    first.turn()
    aside = house.public / "state" / ".masks.json.x7k2"
    aside.write_bytes(b"half")
    assert not second.turn()
    assert aside.exists(), "it may be the file that the keeper is writing at this moment"
    house.clock.ms += LEASE_TTL_MS
    assert second.turn()
    assert house.files() == ["state/masks.json"]


def test_what_has_not_changed_is_not_written_again(house: House) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    keeper = house.keeper()
    keeper.turn()
    flag = house.public / "flags" / "masks.closed"
    before = flag.stat().st_ino
    house.clock.forward(SECOND_S)
    keeper.turn()
    assert flag.stat().st_ino == before
    flag.unlink()
    keeper.turn()
    assert house.flag() == "scheduled\n", "a file that somebody removed comes back"


def test_another_keeper_takes_over_when_the_lease_has_run_out(house: House) -> None:
    house.create()
    first, second = house.keeper("first"), house.keeper("second")
    with capture_logs() as logs:
        assert first.turn()
        told = house.state()["server_time"]
        house.clock.ms += LEASE_TTL_MS - 1
        assert not second.turn()
        assert house.state()["server_time"] == told, "who does not hold the lease wrote"
        house.clock.ms += 1
        assert second.turn()
        assert house.state()["server_time"] > told
        assert not first.turn(), "a keeper that slept believes that it still holds the lease"
    said = [(log["event"], log["holder"]) for log in logs]
    assert said == [("keeper_took_over", "second"), ("keeper_lost_lease", "first")]


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


def test_who_lost_the_lease_and_has_it_again_relies_on_nothing_that_it_wrote(house: House) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    first, second = house.keeper("first"), house.keeper("second")
    first.turn()
    command(house.campaigns, "masks", "pause", actor="test")
    house.clock.ms += LEASE_TTL_MS
    second.turn()
    assert house.flag() == "paused\n"
    assert not first.turn()
    command(house.campaigns, "masks", "resume", actor="test")
    house.clock.ms += LEASE_TTL_MS
    assert first.turn()
    assert (house.state()["phase"], house.flag()) == ("scheduled", "scheduled\n")


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


def test_a_place_that_cannot_be_written_to_is_tried_again(house: House) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    house.public.mkdir()
    obstacle = house.public / "state"
    obstacle.write_text("not a directory")
    keeper = house.keeper()
    with capture_logs([no_news]) as logs:
        for _ in range(3):
            keeper.turn()
    assert [log["event"] for log in logs] == ["campaign_not_published"]
    obstacle.unlink()
    keeper.turn()
    assert (house.state()["phase"], house.flag()) == ("scheduled", "scheduled\n")


def test_a_file_that_cannot_be_replaced_leaves_nothing_aside(house: House) -> None:
    house.create()
    # Nothing can be renamed onto a directory.
    (house.public / "state" / "masks.json").mkdir(parents=True)
    house.keeper().turn()
    assert [path.name for path in (house.public / "state").iterdir()] == ["masks.json"]


def test_a_file_that_cannot_be_replaced_keeps_no_other_campaign_from_being_published(house: House) -> None:
    house.create("first")
    house.create("second")
    (house.public / "state" / "first.json").mkdir(parents=True)
    house.keeper().turn()
    assert (house.public / "state" / "second.json").is_file()


def test_a_campaign_that_cannot_be_shown_keeps_no_other_from_being_published(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.create("first")
    house.create("second")
    known = house.campaigns.campaign_by_id

    def strange(campaign_id: int) -> Any:
        if campaign_id == 1:
            raise ValueError("of a kind that this program does not know")
        return known(campaign_id)

    keeper = house.keeper()
    with monkeypatch.context() as patched, capture_logs([no_news]) as logs:
        patched.setattr(house.campaigns, "campaign_by_id", strange)
        for _ in range(3):
            assert keeper.turn()
    assert house.files() == ["state/second.json"]
    assert [(log["event"], log["campaign"]) for log in logs] == [("campaign_not_published", 1)]
    assert keeper.turn()
    assert house.files() == ["state/first.json", "state/second.json"]


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


def test_a_closed_campaign_stays_closed_for_the_edge(house: House) -> None:
    house.create()
    keeper = house.keeper()
    keeper.turn()
    house.campaigns.control("masks", Control.CLOSED, expected=Control.ACTIVE, command="close", actor="test")
    keeper.turn()
    assert house.flag() == "closed\n"
    again = house.keeper("after a restart")
    house.clock.ms += LEASE_TTL_MS
    assert again.turn()
    assert (house.state()["phase"], house.flag()) == ("closed", "closed\n")
