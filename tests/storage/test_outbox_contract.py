"""What the outbox of every ledger promises, on SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from headgate.domain.claim import Claim, Granted
from headgate.domain.event import BEGINNING, Event, EventKind, Position
from headgate.ports.ledger import LedgerDamaged, LedgerUnavailable
from headgate.services.primary_alone import PrimaryAlone
from headgate.services.reports import Reports
from headgate.storage.sql.outbox import SqlOutbox
from tests.storage.house import House, claim_of

EVERYTHING = 10_000


class OutboxHouse(House):
    def __init__(self, place: Path | sa.URL) -> None:
        super().__init__(place)
        self.outbox = SqlOutbox(self.engine)

    def told(self, after: Position = BEGINNING, limit: int = EVERYTHING) -> list[Event]:
        return self.outbox.events(after, limit)

    def grant(self, *persons: int) -> list[Claim]:
        """In one batch, of the pool with five units."""
        return [claim_of(decision) for decision in self.ask(*(self.request(person, "b") for person in persons))]

    def cancel(self, person: int, claim: Claim) -> None:
        ended, _ = self.claims.cancel(self.request(person).campaign_id, bytes([person]) * 16, claim.id)
        claim_of(ended)


@pytest.fixture
def house(place: Path | sa.URL) -> Iterator[OutboxHouse]:
    built = OutboxHouse(place)
    yield built
    built.close()


def test_a_batch_is_one_row_and_each_claim_of_it_an_event(house: OutboxHouse) -> None:
    first = house.grant(1, 2, 3)
    house.clock.ms += 5
    later = house.grant(4)
    events = house.told()
    assert [event.claim_id for event in events] == [claim.id for claim in (*first, *later)]
    assert [event.at_ms for event in events] == [claim.created_at_ms for claim in (*first, *later)]
    assert {(event.kind, event.campaign, event.pool) for event in events} == {(EventKind.CONFIRMED, "masks", "b")}
    assert [event.position.offset for event in events] == [0, 1, 2, 0]
    assert [event.id for event in events] == [f"{event.claim_id}.confirmed" for event in events]
    with house.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT first_seq, last_seq FROM outbox ORDER BY id").all() == [
            (1, 3),
            (4, 4),
        ]


def test_nothing_is_told_of_what_gave_nothing(house: OutboxHouse) -> None:
    (claim,) = house.grant(1)
    before = house.told()
    house.ask(house.request(1, "b"), house.request(9, "nowhere"))
    house.ask(house.request(1, "b"), fresh=False)
    house.cancel(1, claim)
    house.cancel(1, claim)
    assert [event.id for event in house.told()[len(before) :]] == [f"{claim.id}.cancelled"]


def test_an_event_stays_what_it_was_whatever_becomes_of_its_claim(house: OutboxHouse) -> None:
    (claim,) = house.grant(1)
    (confirmed,) = house.told()
    house.clock.ms += 7
    house.cancel(1, claim)
    again, cancelled = house.told()
    assert again == confirmed
    assert (cancelled.kind, cancelled.at_ms, cancelled.pool) == (EventKind.CANCELLED, house.clock.ms, "b")
    assert cancelled.position > confirmed.position


def test_campaigns_of_one_batch_are_told_apart(house: OutboxHouse) -> None:
    house.create("tickets")
    house.ask(house.request(1), house.request(1, "b", slug="tickets"))
    assert [(event.campaign, event.pool) for event in house.told()] == [("masks", "a"), ("tickets", "b")]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_of_any_size_join_without_a_gap_or_a_repetition(house: OutboxHouse, limit: int) -> None:
    claims = house.grant(1, 2, 3)
    house.cancel(2, claims[1])
    house.grant(4, 5)
    found: list[Event] = []
    while page := house.told(found[-1].position if found else BEGINNING, limit):
        assert len(page) <= limit
        assert len(found) < 10, "it goes round in circles"
        found += page
    assert found == house.told()
    assert len(found) == 6
    assert all(earlier.position < later.position for earlier, later in pairwise(found))


def test_a_place_that_is_not_there_any_more_is_passed_over(house: OutboxHouse) -> None:
    house.grant(1)
    house.grant(2)
    first, second = house.told()
    house.sql(f"DELETE FROM outbox WHERE id = {first.position.row}")
    assert house.told() == house.told(first.position) == [second]


def test_a_destination_begins_at_the_end_and_goes_on_where_it_was(house: OutboxHouse) -> None:
    assert house.outbox.begin("early") == BEGINNING
    house.grant(1, 2)
    last = house.told()[-1].position
    assert house.outbox.begin("late") == last
    assert house.told(house.outbox.begin("late")) == []
    (new,) = house.grant(3)
    assert house.outbox.begin("late") == last
    assert [event.claim_id for event in house.told(last)] == [new.id]
    assert len(house.told(house.outbox.begin("early"))) == 3


def test_a_cursor_only_goes_forward_and_is_its_destinations_own(house: OutboxHouse) -> None:
    house.grant(1, 2, 3)
    for name in ("one", "two"):
        house.outbox.begin(name)
    house.sql("UPDATE relay SET outbox_id = 0, event_offset = 0")
    first, second, third = (event.position for event in house.told())
    house.outbox.advance("one", second)
    for late in (first, BEGINNING, second):
        house.outbox.advance("one", late)
        assert house.outbox.begin("one") == second
    house.outbox.advance("one", third)
    assert (house.outbox.begin("one"), house.outbox.begin("two")) == (third, BEGINNING)


def test_how_long_the_oldest_event_has_been_waiting(house: OutboxHouse) -> None:
    assert house.outbox.waiting_since("nobody") is None
    house.outbox.begin("shop")
    assert house.outbox.waiting_since("shop") is None
    began = house.clock.ms
    house.grant(1, 2)
    house.clock.ms += 1_000
    house.grant(3)
    first, second, third = (event.position for event in house.told())
    assert house.outbox.waiting_since("shop") == began
    house.outbox.advance("shop", first)
    assert house.outbox.waiting_since("shop") == began
    house.outbox.advance("shop", second)
    assert house.outbox.waiting_since("shop") == began + 1_000
    house.outbox.advance("shop", third)
    assert house.outbox.waiting_since("shop") is None


def test_what_is_old_is_forgotten_and_who_had_not_got_it_is_named(house: OutboxHouse) -> None:
    for name in ("slow", "quick"):
        house.outbox.begin(name)
    house.grant(1, 2)
    house.clock.ms += 1_000
    house.grant(3)
    old, _, new = house.told()
    house.outbox.advance("slow", old.position)
    house.outbox.advance("quick", new.position)
    assert house.outbox.prune(old.at_ms, 10) is None
    assert len(house.told()) == 3
    assert house.outbox.prune(new.at_ms, 10) == ["slow"]
    assert house.told() == house.told(house.outbox.begin("slow")) == [new]
    assert house.outbox.prune(new.at_ms, 10) is None
    assert house.outbox.prune(new.at_ms + 1, 10) == ["slow"]


def test_only_so_many_rows_are_forgotten_at_once(house: OutboxHouse) -> None:
    for person in range(1, 5):
        house.grant(person)
    events = house.told()
    house.outbox.prune(house.clock.ms + 1, 3)
    assert house.told() == events[3:]


def test_a_number_that_was_given_once_is_not_given_again(house: OutboxHouse) -> None:
    house.grant(1, 2)
    last = house.told()[-1].position
    house.outbox.begin("shop")
    house.outbox.prune(house.clock.ms + 1, 10)
    assert house.told() == []
    (new,) = house.grant(3)
    assert [event.claim_id for event in house.told(last)] == [new.id]
    assert [event.claim_id for event in house.told(house.outbox.begin("shop"))] == [new.id]


def test_a_row_without_its_claim_is_a_damaged_ledger(house: OutboxHouse) -> None:
    house.sql("INSERT INTO outbox (at, kind, first_seq, last_seq) VALUES (0, 'claim.confirmed', 99, 99)")
    with pytest.raises(LedgerDamaged, match="tells of claim 99, which is not there"):
        house.told()


def test_programs_that_race_are_told_of_in_the_order_of_their_commits(house: OutboxHouse) -> None:
    """Four programs claim and cancel; a reader that goes along from page to page misses nothing."""
    ledgers = [house.connect(seed) for seed in range(2, 6)]
    house.campaigns.topup("masks", "b", 155, actor="test")
    requests = [[house.request(1 + 40 * number + turn, "b") for turn in range(40)] for number in range(4)]
    faults: list[Exception] = []
    ready = threading.Barrier(len(ledgers))

    def work(number: int) -> None:
        try:
            ready.wait()
            for turn in range(0, 40, 4):
                batch = requests[number][turn : turn + 4]
                decisions = ledgers[number].confirm(batch, [True] * 4).decisions
                for request, decision in zip(batch[::2], decisions[::2], strict=True):
                    assert isinstance(decision, Granted)
                    ledgers[number].cancel(request.campaign_id, request.person, decision.claim.id)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(ledgers))]
    for thread in threads:
        thread.start()
    found: list[Event] = []
    while True:
        working = any(thread.is_alive() for thread in threads)
        page = house.told(found[-1].position if found else BEGINNING, 10)
        found += page
        if not working and not page:
            break
    assert faults == []
    assert found == house.told()
    confirmed = [event.claim_id for event in found if event.kind is EventKind.CONFIRMED]
    assert confirmed == [row.id for row in Reports(PrimaryAlone(house.campaigns)).claims("masks")]
    cancelled = [event.claim_id for event in found if event.kind is EventKind.CANCELLED]
    assert len(cancelled) == len(set(cancelled)) == 80
    order = [event.id for event in found]
    assert all(order.index(f"{claim}.confirmed") < order.index(f"{claim}.cancelled") for claim in cancelled)


# On SQLite the whole file is held, and nobody but the one writer gets in.
@pytest.mark.parametrize("place", ["postgresql", "mariadb", "mysql"], indirect=True)
def test_a_node_of_an_older_schema_moves_no_cursor(house: OutboxHouse) -> None:
    house.outbox.begin("shop")
    house.grant(1)
    house.sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerUnavailable, match="has schema 9999"):
        house.outbox.advance("shop", house.told()[-1].position)
    assert house.outbox.begin("shop") == BEGINNING
