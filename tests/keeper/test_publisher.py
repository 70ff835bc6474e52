"""What the edge answers from, as files, with a clock that the test moves."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headgate.domain.campaign import Control, Phase
from headgate.keeper.publisher import OPENING_MS, STALE_MS
from headgate.ports.ledger import LedgerUnavailable
from headgate.services.operating import command
from headgate.services.publishing import GZIP_MIN_BYTES
from tests.fakes import NOON_MS, no_news
from tests.keeper.house import HOUR_MS, SECOND_S, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    yield built
    built.close()


def test_the_refusal_follows_the_phase(house: House) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    publisher = house.publisher()

    def turned() -> tuple[str, str | None]:
        house.clock.forward(SECOND_S)
        publisher.turn()
        return house.state()["phase"], house.refusal()

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
        ("scheduled", "not_open"),
        ("paused", "paused"),
        ("open", None),
        ("sold_out", "sold_out"),
        ("open", None),
        ("closed", "closed"),
    ]
    assert {phase for phase, _ in seen} == set(Phase)


def test_opening_is_never_published_late(house: House) -> None:
    house.create(pools=30, opens_ms=NOON_MS + OPENING_MS + 1)
    publisher = house.publisher()
    publisher.turn()
    assert (house.state()["phase"], house.refusal()) == ("scheduled", "not_open")
    house.clock.ms += 1
    publisher.turn()
    assert house.refusal() is None, "a file that is read a moment later would keep people out who are in time"
    house.clock.ms += OPENING_MS
    publisher.turn()
    assert (house.state()["phase"], house.refusal()) == ("open", None)


def test_a_refusal_is_the_answer_of_the_api_and_tells_holders_where_to_look(house: House) -> None:
    house.create()
    house.sell()
    house.publisher().turn()
    told = json.loads((house.public / "refusals" / "masks.sold_out").read_bytes())
    assert {key: told[key] for key in ("status", "outcome", "type")} == {
        "status": 409, "outcome": "sold_out", "type": "urn:headgate:problem:sold_out"
    }  # fmt: skip
    assert "/api/v1/campaigns/masks/claims/mine" in told["detail"]


def test_a_ledger_that_is_away_for_long_leaves_decisions_to_the_application(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    publisher = house.publisher()
    publisher.turn()

    def fails(*_: object) -> None:
        raise LedgerUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(house.claims, "versions", fails)
        for later_ms, refuses in ((STALE_MS, "not_open"), (1, None), (1, None)):
            house.clock.ms += later_ms
            with pytest.raises(LedgerUnavailable):
                publisher.turn()
            assert house.refusal() == refuses
    publisher.turn()
    assert house.refusal() == "not_open"


def test_a_file_that_another_put_there_is_not_taken_for_the_own_one(house: House) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    first, second = house.publisher(), house.publisher()
    first.turn()
    command(house.campaigns, "masks", "pause", actor="test")
    second.turn()
    assert house.refusal() == "paused"
    command(house.campaigns, "masks", "resume", actor="test")
    first.turn()
    assert (house.state()["phase"], house.refusal()) == ("scheduled", "not_open")


def test_a_large_state_is_there_compressed_too(house: House) -> None:
    house.create(pools=50)
    house.create("small")
    house.publisher().turn()
    assert house.files() == ["state/masks.json", "state/masks.json.gz", "state/small.json"]
    assert json.loads(gzip.decompress(house.packed().read_bytes())) == house.state()
    assert [pool["state"] for pool in house.state()["pools"]] == ["available"] * 50
    for path in house.public.rglob("*.json*"):
        assert path.stat().st_mode & 0o777 == 0o644, "the web server in front is another user"


def test_the_compressed_state_is_never_older_than_the_plain_one(house: House) -> None:
    house.create(pools=50)
    publisher = house.publisher()
    publisher.turn()
    house.sell(7)
    house.clock.forward(SECOND_S)
    publisher.turn()
    assert house.state()["pools"][6]["state"] == "sold_out"
    assert json.loads(gzip.decompress(house.packed().read_bytes())) == house.state()


def test_a_state_that_has_become_small_leaves_no_old_compressed_one(house: House) -> None:
    house.create(opens_ms=NOON_MS + 1_000)
    publisher = house.publisher()
    publisher.turn()
    plain = house.public / "state" / "masks.json"
    # The title brings the state of the scheduled campaign to the length from which on it is compressed, and that of
    # the open one below it.
    title = json.dumps({"en": "M" * (GZIP_MIN_BYTES - plain.stat().st_size + len("Masks"))})
    with house.engine.execution_options(immediate=True).begin() as connection:
        connection.exec_driver_sql("UPDATE campaign SET title = ?, version = version + 1", (title,))
    publisher.turn()
    assert plain.stat().st_size >= GZIP_MIN_BYTES
    assert house.packed().exists()
    house.clock.forward(1)
    publisher.turn()
    assert house.state()["phase"] == "open"
    assert plain.stat().st_size < GZIP_MIN_BYTES
    assert not house.packed().exists(), "a web server would go on to serve it in place of the plain one"


def test_a_reader_never_sees_a_part_of_a_file(house: House) -> None:
    house.create(pools=50)
    publisher = house.publisher()
    publisher.turn()
    with (house.public / "state" / "masks.json").open("rb", buffering=0) as reader:
        begin = reader.read(100)
        house.sell(1)
        house.clock.forward(SECOND_S)
        publisher.turn()
        old = json.loads(begin + reader.readall())
    assert old["pools"][0]["state"] == "available"
    assert house.state()["pools"][0]["state"] == "sold_out"
    assert house.files() == ["state/masks.json", "state/masks.json.gz"], "what was written aside is left behind"


def test_what_has_not_changed_is_not_written_again(house: House) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    publisher = house.publisher()
    publisher.turn()
    refusal = house.public / "refusals" / "masks.not_open"
    before = refusal.stat().st_ino
    house.clock.forward(SECOND_S)
    publisher.turn()
    assert refusal.stat().st_ino == before
    refusal.unlink()
    publisher.turn()
    assert house.refusal() == "not_open", "a file that somebody removed comes back"


def test_a_place_that_cannot_be_written_to_is_tried_again(house: House) -> None:
    house.create(opens_ms=NOON_MS + HOUR_MS)
    house.public.mkdir()
    obstacle = house.public / "state"
    obstacle.write_text("not a directory")
    publisher = house.publisher()
    with capture_logs([no_news]) as logs:
        for _ in range(3):
            publisher.turn()
    assert [log["event"] for log in logs] == ["campaign_not_published"]
    obstacle.unlink()
    publisher.turn()
    assert (house.state()["phase"], house.refusal()) == ("scheduled", "not_open")


def test_a_file_that_cannot_be_replaced_leaves_nothing_aside(house: House) -> None:
    house.create()
    # Nothing can be renamed onto a directory.
    (house.public / "state" / "masks.json").mkdir(parents=True)
    house.publisher().turn()
    assert [path.name for path in (house.public / "state").iterdir()] == ["masks.json"]


def test_a_file_that_cannot_be_replaced_keeps_no_other_campaign_from_being_published(house: House) -> None:
    house.create("first")
    house.create("second")
    (house.public / "state" / "first.json").mkdir(parents=True)
    house.publisher().turn()
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

    publisher = house.publisher()
    with monkeypatch.context() as patched, capture_logs([no_news]) as logs:
        patched.setattr(house.campaigns, "campaign_by_id", strange)
        for _ in range(3):
            publisher.turn()
    assert house.files() == ["state/second.json"]
    assert [(log["event"], log["campaign"]) for log in logs] == [("campaign_not_published", 1)]
    publisher.turn()
    assert house.files() == ["state/first.json", "state/second.json"]


def test_a_closed_campaign_stays_closed_for_the_edge(house: House) -> None:
    house.create()
    house.publisher().turn()
    house.campaigns.control("masks", Control.CLOSED, expected=Control.ACTIVE, command="close", actor="test")
    for publisher in (house.publisher(), house.publisher()):
        publisher.turn()
        assert (house.state()["phase"], house.refusal()) == ("closed", "closed")
