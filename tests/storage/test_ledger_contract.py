"""What every ledger promises, on SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from headgate.domain.campaign import Control, Mode
from headgate.domain.claim import Claim, ClaimRequest, Granted, Status
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.domain.event import BEGINNING
from headgate.domain.outcome import (
    KEY_REUSED,
    LIMIT_REACHED,
    PAUSED,
    REDEEMED,
    SOLD_OUT,
    UNKNOWN_CLAIM,
    WRONG_POOL,
    Refusal,
)
from headgate.ports.ledger import LedgerDamaged, SlugTaken
from headgate.storage.sql import schema
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.leases import SqlLeases
from headgate.storage.sql.migrating import SchemaTooNew, migrate
from headgate.storage.sql.outbox import SqlOutbox
from headgate.storage.sql.schema import METADATA
from tests.fakes import NOON_MS
from tests.storage.house import House, at, claim_of


@pytest.fixture
def house(place: Path | sa.URL) -> Iterator[House]:
    built = House(place)
    yield built
    built.close()


def test_a_batch_takes_exactly_what_there_is(house: House) -> None:
    result = house.claims.confirm([house.request(person) for person in range(1, 5)], [True] * 4)
    assert [type(decision) for decision in result.decisions] == [Granted, Granted, Refusal, Refusal]
    assert result.decisions[2] is SOLD_OUT
    assert [(stock.remaining, stock.version) for stock in result.stock] == [(0, 2)]
    tally = house.campaigns.tally("masks")
    assert (tally.confirmed, tally.available, tally.ok) == (2, 5, True)


def test_a_campaign_is_kept_as_it_was_defined(house: House) -> None:
    definition = CampaignDefinition(
        "lamps", {"en": "Lamps"}, at(NOON_MS), at(NOON_MS + 1), mode=Mode.QUEUED, pools=[PoolDefinition("a", 1)]
    )
    made = house.campaigns.create(definition, actor="test")
    assert (made.mode, house.campaigns.campaign("masks").mode) == (Mode.QUEUED, Mode.IMMEDIATE)
    assert house.campaigns.campaign("lamps") == made


def test_claims_are_numbered_as_they_are_committed_over_all_campaigns(house: House) -> None:
    house.create("tickets")
    first = house.ask(house.request(1), house.request(2, "b"), house.request(3, slug="tickets"))
    second = house.ask(house.request(4, "b"))
    claims = [claim_of(decision) for decision in (*first, *second)]
    assert [claim.seq for claim in claims] == [1, 2, 3, 4]
    assert len({claim.id for claim in claims}) == len({claim.code for claim in claims}) == 4


@pytest.mark.parametrize("fresh", [True, False])
def test_whoever_asks_again_gets_their_claim_whatever_the_gate_believed(house: House, *, fresh: bool) -> None:
    (first,) = house.ask(house.request(1))
    again, other, third = house.ask(house.request(1), house.request(2), house.request(3), fresh=fresh)
    assert claim_of(again) == claim_of(first)
    assert isinstance(again, Granted)
    assert again.repeated
    assert claim_of(other).seq == 2
    assert third is SOLD_OUT
    for _ in range(2):
        assert claim_of(house.ask(house.request(1), fresh=fresh)[0]) == claim_of(first)
    assert house.ask(house.request(1, "b"), fresh=fresh) == [LIMIT_REACHED]
    assert house.campaigns.tally("masks").ok


def test_two_requests_of_one_person_in_a_batch_see_each_other(house: House) -> None:
    first, second = house.ask(house.request(1), house.request(1))
    assert claim_of(first) == claim_of(second)
    assert house.campaigns.tally("masks").confirmed == 1


def test_several_claims_a_person_have_places_of_their_own(house: House) -> None:
    house.create("two", per_person=2)
    asked = [house.request(1, pool, "two", key) for pool, key in (("a", b"1"), ("b", b"2"), ("b", b"3"))]
    first, second, third = house.ask(*asked)
    assert [claim_of(first).ordinal, claim_of(second).ordinal] == [1, 2]
    assert third is LIMIT_REACHED


def test_a_key_finds_its_claim_and_refuses_another_body(house: House) -> None:
    asked = house.request(1, "b", key=b"k")
    (first,) = house.ask(asked)
    (again,) = house.ask(asked)
    assert claim_of(again) == claim_of(first)
    other_body = ClaimRequest(asked.campaign_id, asked.pool_id, asked.person, asked.key_digest, b"z" * 16)
    assert house.ask(other_body) == [KEY_REUSED]
    assert house.ask(house.request(2, "nowhere", key=b"k")) == [WRONG_POOL]


def test_a_cancelled_unit_returns_once_and_the_place_is_free(house: House) -> None:
    claim = claim_of(house.ask(house.request(1))[0])
    person = bytes([1]) * 16
    campaign_id = house.request(1).campaign_id
    ended, stock = house.claims.cancel(campaign_id, person, claim.id)
    assert claim_of(ended).status is Status.CANCELLED
    assert (stock[0].remaining, stock[0].version) == (2, 3)
    again, nothing = house.claims.cancel(campaign_id, person, claim.id)
    assert claim_of(again).status is Status.CANCELLED
    assert nothing == []
    new = claim_of(house.ask(house.request(1), fresh=False)[0])
    assert (new.id != claim.id, new.ordinal) == (True, 1)
    assert [(held.id, held.status) for held in house.claims_of(1)] == [
        (claim.id, Status.CANCELLED),
        (new.id, Status.CONFIRMED),
    ]
    assert house.campaigns.tally("masks").ok


def test_nobody_cancels_the_claim_of_another_or_one_that_was_redeemed(house: House) -> None:
    claim = claim_of(house.ask(house.request(1))[0])
    campaign_id = house.request(1).campaign_id
    assert house.claims.cancel(campaign_id, bytes([2]) * 16, claim.id) == (UNKNOWN_CLAIM, [])
    house.sql("UPDATE claim SET status = 'redeemed'")
    assert house.claims.cancel(campaign_id, bytes([1]) * 16, claim.id) == (REDEEMED, [])


def test_the_ledgers_own_clock_and_word_decide(house: House) -> None:
    house.steer("pause", Control.ACTIVE, Control.PAUSED)
    assert house.ask(house.request(1)) == [PAUSED]
    house.steer("resume", Control.PAUSED, Control.ACTIVE)
    house.clock.ms += 60_000
    (late,) = house.ask(house.request(1))
    assert isinstance(late, Refusal)
    assert late.outcome == "closed"


def test_changes_by_others_are_noticed(house: House) -> None:
    assert house.claims.changed()
    assert not house.claims.changed()
    house.campaigns.topup("masks", "a", 3, actor="test")
    assert house.claims.changed()


def test_what_is_read_is_what_was_written(house: House) -> None:
    house.ask(house.request(1), house.request(2, "b"))
    loaded = house.campaigns.campaign("masks")
    assert loaded == house.campaign
    assert house.claims.versions() == {loaded.id: loaded.version}
    assert {stock.remaining for stock in house.claims.stock_of(loaded.id)} == {1, 4}
    assert sorted(house.claims.persons_of(loaded.id)) == [bytes([1]) * 16, bytes([2]) * 16]
    rows = house.campaigns.claims_after(loaded, 0, 5)
    assert [(row.seq, row.person, row.pool) for row in rows] == [(1, "01" * 16, "a"), (2, "02" * 16, "b")]
    assert house.campaigns.claims_after(loaded, 0, 1) == rows[:1]
    assert house.campaigns.claims_after(loaded, 1, 5) == rows[1:]
    house.campaigns.check()


def test_names_that_differ_in_case_alone_are_two(house: House) -> None:
    house.campaigns.create(
        CampaignDefinition(
            "cases", {"en": "x"}, at(0), at(house.clock.ms * 2), pools=[PoolDefinition("a", 1), PoolDefinition("A", 2)]
        ),
        actor="test",
    )
    assert [pool.code for pool in house.campaigns.campaign("cases").pools] == ["a", "A"]
    with pytest.raises(SlugTaken):
        house.create("masks")


def test_a_lease_has_one_holder_and_its_epoch_grows_with_every_other(house: House) -> None:
    leases = SqlLeases(house.engine, house.clock)
    first = leases.acquire("keeper", "one", 5_000)
    assert first is not None
    assert leases.acquire("keeper", "two", 5_000) is None
    assert leases.acquire("keeper", "one", 5_000) is not None
    house.clock.ms += 5_001
    second = leases.acquire("keeper", "two", 5_000)
    assert second is not None
    assert second.epoch == first.epoch + 1


def test_a_stolen_unit_and_an_altered_row_of_the_audit_trail_are_found(house: House) -> None:
    house.ask(house.request(1))
    house.campaigns.check()
    house.sql("UPDATE pool SET remaining = remaining + 1 WHERE code = 'a'")
    with pytest.raises(LedgerDamaged, match="pool 'a' of campaign 'masks' has 2 units left and 1 live claims"):
        house.campaigns.check()
    house.sql("UPDATE pool SET remaining = remaining - 1 WHERE code = 'a'")
    house.sql("UPDATE operation SET actor = 'mallory'")
    with pytest.raises(LedgerDamaged, match="row 1 of the audit trail"):
        house.campaigns.check()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pool SET remaining = -1",
        "UPDATE pool SET remaining = capacity + 1",
        "UPDATE claim SET status = 'lost'",
        "UPDATE claim SET status = 'cancelled'",
        "UPDATE claim SET person = (SELECT p FROM (SELECT max(person) AS p FROM claim) AS x), ordinal = 1",
    ],
)
def test_the_engine_itself_refuses_what_must_not_be(house: House, statement: str) -> None:
    house.ask(house.request(1), house.request(2))
    if "max(person)" in statement and house.engine.dialect.name == "postgresql":
        statement = statement.replace("max(person)", "person").replace(" FROM claim)", " FROM claim LIMIT 1)")
    with pytest.raises((sa.exc.DBAPIError, LedgerDamaged)):
        house.sql(statement)
    assert house.campaigns.tally("masks").ok


def test_many_programs_at_once_give_exactly_what_there_is(house: House) -> None:
    """Four connections race with batches that name the pools in different orders, and with cancellations."""
    ledgers = [house.connect(seed) for seed in range(2, 6)]
    house.campaigns.topup("masks", "a", 18, actor="test")
    house.campaigns.topup("masks", "b", 15, actor="test")
    granted: list[Claim] = []
    faults: list[Exception] = []
    ready = threading.Barrier(len(ledgers))
    requests = {
        number: [house.request(1 + (number * 13 + turn * 5 + item) % 90, "ab"[(item + number) % 2])
                 for turn in range(10) for item in range(5)]
        for number in range(len(ledgers))
    }  # fmt: skip

    def work(number: int) -> None:
        try:
            ready.wait()
            for turn in range(10):
                asked = requests[number][turn * 5 : turn * 5 + 5]
                for request, decision in zip(asked, ledgers[number].confirm(asked, [True] * 5).decisions, strict=True):
                    if isinstance(decision, Granted) and not decision.repeated:
                        granted.append(decision.claim)
                        if turn % 3 == 0:
                            ledgers[number].cancel(request.campaign_id, request.person, decision.claim.id)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(ledgers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    tally = house.campaigns.tally("masks")
    assert tally.ok
    assert tally.confirmed + tally.cancelled == len(granted)
    assert sorted(claim.seq for claim in granted) == list(range(1, len(granted) + 1))
    assert len({claim.code for claim in granted}) == len(granted)


def test_the_schema_is_what_the_migrations_make(house: House) -> None:
    with house.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


# A SQLite file is made and migrated under a lock of the data directory instead.
@pytest.mark.parametrize("place", ["postgresql", "mariadb", "mysql"], indirect=True)
def test_programs_that_start_at_the_same_moment_migrate_once(place: Path | sa.URL) -> None:
    faults: list[Exception] = []
    ready = threading.Barrier(4)

    def start() -> None:
        engine = open_engine(place)
        try:
            ready.wait()
            upgrade(engine)
        except Exception as error:
            faults.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []


def test_a_filled_ledger_of_the_first_schema_goes_on_where_it_was(place: Path | sa.URL) -> None:
    engine = open_engine(place)
    with engine.begin() as connection:
        migrate(connection, "0001")
        added = connection.execute(
            sa.insert(schema.campaign).values(
                slug="old", kind="first_come", title={"en": "Old"}, opens_at=0, closes_at=NOON_MS * 2, utc_offset_s=0,
                per_person=1, rehearsal=False, verification="none", control="active", version=1, created_at=0,
            )
        )  # fmt: skip
        (campaign_id,) = added.inserted_primary_key or (0,)
        added = connection.execute(
            sa.insert(schema.pool).values(
                campaign_id=campaign_id, code="a", label={"en": "A"}, capacity=9, remaining=7, version=3
            )
        )
        (pool_id,) = added.inserted_primary_key or (0,)
        for seq in (1, 2):
            connection.execute(
                sa.insert(schema.claim).values(
                    seq=seq, id=f"{seq:012x}", campaign_id=campaign_id, pool_id=pool_id, person=bytes([seq]) * 16,
                    ordinal=1, status="confirmed", code=f"00000{seq}-AAAAAA", created_at=0,
                )
            )  # fmt: skip
    engine.dispose()
    house = House(place)
    house.campaigns.check()
    first, again = house.ask(house.request(9, slug="old"), house.request(2, slug="old"))
    assert claim_of(first).seq == 3
    assert claim_of(again).code == "000002-AAAAAA"
    assert house.campaigns.tally("old").ok
    told = SqlOutbox(house.engine).events(BEGINNING, 9)
    assert [event.claim_id for event in told] == [claim_of(first).id], "what was there before is told to nobody"
    assert house.campaigns.campaign("old").mode is Mode.IMMEDIATE
    house.close()


def test_a_schema_of_a_newer_program_is_refused(house: House) -> None:
    house.sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match="has schema 9999"):
        upgrade(house.engine)
