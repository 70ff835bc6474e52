"""A relay on a real ledger: at least once, in order, whatever the destination does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headgate.domain.event import BEGINNING, Event, Position
from headgate.lab.simulation.receiver import PAGE, SimulatedReceiver
from headgate.ports.ledger import LedgerBroken, LedgerUnavailable
from headgate.services.primary_alone import PrimaryAlone
from headgate.services.relaying import IDLE_S, REMEMBER_S, RETRY_MAX_S, RETRY_MIN_S, Relay, Tenure
from headgate.services.reports import Reports
from headgate.storage.sql.outbox import SqlOutbox
from tests.fakes import SeededEntropy
from tests.storage.test_outbox_contract import OutboxHouse

NAME = "webhook:shop"


class Desk(OutboxHouse):
    """A ledger with room for many, and relays of it; `now_s` is moved by the test."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "ledger.db")
        self.campaigns.topup("masks", "b", 95, actor="test")
        self.now_s = 0.0
        self.tenure = Tenure(lambda: self.now_s)
        self.tenure.extend(1e9)
        self.writes = 0

    def relay(self, receiver: SimulatedReceiver) -> Relay:
        return Relay(Counted(self), receiver, self.tenure, SeededEntropy())

    def remembered(self) -> object:
        return self.outbox.begin(NAME)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    built = Desk(tmp_path)
    yield built
    built.close()


class Counted(SqlOutbox):
    """Counts on its desk how often a cursor is written."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.engine)
        self._desk = desk

    def advance(self, name: str, position: Position) -> None:
        self._desk.writes += 1
        super().advance(name, position)


def webhook() -> SimulatedReceiver:
    return SimulatedReceiver(NAME, accounts=False)


def stream() -> SimulatedReceiver:
    return SimulatedReceiver(NAME, accounts=True)


RECEIVERS = {"webhook": webhook, "stream": stream}
both = pytest.mark.parametrize("make", RECEIVERS.values(), ids=RECEIVERS)


def run_out(relay: Relay) -> None:
    """Until there is nothing more to tell."""
    for _ in range(1_000):
        if relay.step() > 0.0:
            return
    pytest.fail("it goes on for ever")


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


@both
def test_everything_is_told_once_and_in_order(desk: Desk, make: Callable[[], SimulatedReceiver]) -> None:
    receiver = make()
    relay = desk.relay(receiver)
    assert relay.step() == IDLE_S
    claims = desk.grant(*range(1, 8))
    desk.cancel(3, claims[2])
    run_out(relay)
    assert receiver.got == desk.told()
    assert len(receiver.got) == 8
    desk.grant(9)
    run_out(relay)
    assert receiver.got == desk.told()


def test_a_webhook_that_is_named_for_the_first_time_begins_at_the_end(desk: Desk) -> None:
    desk.grant(1, 2)
    receiver = webhook()
    relay = desk.relay(receiver)
    run_out(relay)
    assert receiver.got == []
    desk.grant(3)
    run_out(relay)
    assert receiver.got == desk.told()[2:]


def test_a_stream_is_filled_with_what_the_outbox_holds(desk: Desk) -> None:
    desk.grant(1, 2)
    receiver = stream()
    run_out(desk.relay(receiver))
    assert receiver.got == desk.told()


def test_a_page_whose_answer_was_lost_is_repeated_as_it_was(desk: Desk) -> None:
    receiver = webhook()
    relay = desk.relay(receiver)
    relay.step()
    desk.grant(1, 2)
    receiver.loses_answers = True
    assert relay.step() >= RETRY_MIN_S
    desk.grant(3)
    relay.step()
    receiver.loses_answers = False
    run_out(relay)
    first, second, third = desk.told()
    assert receiver.got == [first, second] * 3 + [third]


def test_a_stream_whose_answer_was_lost_gets_nothing_twice(desk: Desk) -> None:
    receiver = stream()
    relay = desk.relay(receiver)
    desk.grant(*range(1, 6))
    receiver.loses_answers = True
    for _ in range(3):
        relay.step()
    receiver.loses_answers = False
    run_out(relay)
    assert receiver.got == desk.told()


@both
def test_another_process_goes_on_where_the_last_one_was_and_repeats_little(
    desk: Desk, make: Callable[[], SimulatedReceiver]
) -> None:
    receiver = make()
    relay = desk.relay(receiver)
    relay.step()
    desk.grant(*range(1, 2 * PAGE + 1))
    desk.now_s += REMEMBER_S
    relay.step()
    desk.now_s += REMEMBER_S
    relay.step()
    # Killed here: the second page arrived, and only the first was remembered.
    assert desk.remembered() == desk.told()[PAGE - 1].position
    run_out(desk.relay(receiver))
    again = [] if make is stream else desk.told()[PAGE:]
    assert receiver.got == desk.told() + again


@both
def test_two_at_once_leave_nothing_out(desk: Desk, make: Callable[[], SimulatedReceiver]) -> None:
    receiver = make()
    relays = [desk.relay(receiver) for _ in range(2)]
    for relay in relays:
        relay.step()
    for person in range(1, 30):
        desk.grant(person)
        relays[person % 5 % 2].step()
    for relay in relays:
        run_out(relay)
    assert list(dict.fromkeys(ids(receiver.got))) == ids(desk.told())
    if make is stream:
        assert receiver.got == desk.told()


@pytest.mark.parametrize("trouble", ["flush", "fail_over"])
def test_a_stream_that_lost_events_is_filled_again_without_waiting_for_new_ones(desk: Desk, trouble: str) -> None:
    receiver = stream()
    relay = desk.relay(receiver)
    desk.grant(1, 2)
    run_out(relay)
    receiver.replicate()
    desk.grant(3, 4)
    run_out(relay)
    before = len(receiver.got)
    getattr(receiver, trouble)()
    run_out(relay)
    assert receiver.got[before:] == desk.told()[2 if trouble == "fail_over" else 0 :]
    desk.grant(5)
    run_out(relay)
    assert receiver.got[-1] == desk.told()[-1]


def test_a_stream_erased_between_its_account_and_the_delivery_is_asked_again(desk: Desk) -> None:
    receiver = stream()
    relay = desk.relay(receiver)
    desk.grant(1)
    run_out(relay)
    desk.grant(2)
    place = receiver.place()
    receiver.flush()
    receiver.place = lambda: place  # type: ignore[method-assign]
    assert relay.step() == 0.0
    assert len(receiver.got) == 1, "it took what does not follow"
    del receiver.place
    run_out(relay)
    assert ids(receiver.got[1:]) == ids(desk.told())


def test_events_of_another_history_are_not_gone_on_behind(tmp_path: Path) -> None:
    receiver = stream()
    for name in ("before", "restored"):
        (tmp_path / name).mkdir()
    before, restored = Desk(tmp_path / "before"), Desk(tmp_path / "restored")
    before.grant(1, 2, 3)
    run_out(before.relay(receiver))
    restored.grant(1, 2)
    relay = restored.relay(receiver)
    with capture_logs() as logs:
        relay.step()
        restored.grant(3)
        relay.step()
        # It has come further meanwhile, and has other events by these numbers.
        restored.grant(*range(4, 9))
        relay.step()
    assert {log["event"] for log in logs} == {"events_not_delivered"}
    assert "erase it, and it is filled again" in logs[0]["error"]
    assert len(receiver.got) == 3
    receiver.flush()
    run_out(relay)
    assert receiver.got[3:] == restored.told()
    before.close()
    restored.close()


def test_a_stream_whose_events_have_been_forgotten_goes_on(desk: Desk) -> None:
    receiver = stream()
    relay = desk.relay(receiver)
    desk.grant(1, 2)
    run_out(relay)
    desk.outbox.prune(desk.clock.ms + 1, 10)
    run_out(desk.relay(receiver))
    desk.grant(3)
    for again in (relay, desk.relay(receiver)):
        run_out(again)
    assert [event.claim_id for event in receiver.got] == [
        row.id for row in Reports(PrimaryAlone(desk.campaigns)).claims("masks")
    ]


def test_a_cursor_is_written_once_in_a_while_and_when_everything_is_told(desk: Desk) -> None:
    receiver = webhook()
    relay = desk.relay(receiver)
    relay.step()
    desk.grant(*range(1, 10 * PAGE))
    relay.step()
    for _ in range(8):
        desk.now_s += REMEMBER_S / 4
        relay.step()
    assert desk.writes == 2
    run_out(relay)
    assert desk.remembered() == desk.told()[-1].position
    writes = desk.writes
    for _ in range(5):
        desk.now_s += REMEMBER_S
        relay.step()
    assert desk.writes == writes, "nothing has changed"


def test_stopping_remembers_how_far_it_came(desk: Desk) -> None:
    receiver = webhook()
    relay = desk.relay(receiver)
    relay.step()
    desk.grant(*range(1, PAGE + 2))
    relay.step()
    relay.stop()
    assert desk.remembered() == desk.told()[PAGE - 1].position


def test_nobody_relays_without_the_lease(desk: Desk) -> None:
    receiver = webhook()
    first, second = desk.relay(receiver), desk.relay(receiver)
    first.step()
    desk.grant(1)
    desk.tenure.extend(desk.now_s + 5)
    desk.now_s += 5
    assert first.step() == IDLE_S
    assert receiver.got == []
    desk.tenure.extend(desk.now_s + 5)
    run_out(second)
    desk.grant(2)
    desk.tenure.end()
    first.step()
    assert len(receiver.got) == 1
    desk.tenure.extend(desk.now_s + 5)
    run_out(first)
    assert receiver.got == desk.told(), "it went on from where it had been before another did"


def test_pauses_grow_to_a_bound_and_differ_by_chance(desk: Desk) -> None:
    receiver = webhook()
    relay = desk.relay(receiver)
    receiver.away = True
    pauses = [relay.step() for _ in range(40)]
    assert all(RETRY_MIN_S <= pause <= RETRY_MAX_S for pause in pauses)
    assert pauses[0] <= 2 * RETRY_MIN_S
    assert all(pause >= RETRY_MAX_S / 2 for pause in pauses[6:])
    assert len(set(pauses)) == len(pauses)
    receiver.away = False
    relay.step()
    receiver.away = True
    assert relay.step() <= 2 * RETRY_MIN_S, "a success begins anew"


def test_a_failure_is_logged_when_it_begins_when_it_changes_and_when_it_ends(desk: Desk) -> None:
    receiver = webhook()
    relay = desk.relay(receiver)
    relay.step()
    desk.grant(1)
    with capture_logs() as logs:
        receiver.away = True
        for _ in range(5):
            relay.step()
        receiver.away, receiver.loses_answers = False, True
        for _ in range(5):
            relay.step()
        receiver.loses_answers = False
        run_out(relay)
        run_out(relay)
    assert [(log["event"], log["destination"]) for log in logs] == [
        ("events_not_delivered", NAME),
        ("events_not_delivered", NAME),
        ("events_delivered_again", NAME),
    ]
    assert [log["error"] for log in logs[:2]] == ["injected: away", "injected: the answer is lost"]
    assert logs[2]["after_failures"] == 10


def test_a_ledger_that_fails_is_asked_again_and_one_that_is_broken_ends_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = webhook()
    relay = desk.relay(receiver)
    relay.step()
    desk.grant(1)

    def fails(*_: object) -> None:
        raise error

    error: Exception = LedgerUnavailable("busy")
    with monkeypatch.context() as patched:
        patched.setattr(SqlOutbox, "events", fails)
        assert relay.step() >= RETRY_MIN_S
    run_out(relay)
    assert receiver.got == desk.told()
    error = LedgerBroken("a sync has failed")
    monkeypatch.setattr(SqlOutbox, "events", fails)
    with pytest.raises(LedgerBroken):
        relay.step()


def test_what_is_remembered_is_never_ahead_of_what_was_delivered(desk: Desk) -> None:
    receiver = webhook()
    relay = desk.relay(receiver)
    relay.step()
    desk.grant(*range(1, 4 * PAGE))
    for turn in range(20):
        receiver.away = turn % 3 == 0
        receiver.loses_answers = turn % 3 == 1
        desk.now_s += REMEMBER_S
        relay.step()
        last = receiver.got[-1].position if receiver.got else BEGINNING
        assert desk.outbox.begin(NAME) <= last
