"""How far a copy of the ledger has come, whatever clocks say."""

from __future__ import annotations

from typing import Any, cast

import pytest

from headgate.ports.replicas import ReplicaAway
from headgate.storage.sql.schema import SCHEMA_VERSION
from headgate.storage.sql.standing import REPLICA_LAG_S, STEP_S, Primary, Renewed, Standing, Told
from tests.fakes import NOON_MS

LAG_MS = round(REPLICA_LAG_S * 1000)
STEP_MS = round(STEP_S * 1000)


class Noon(Primary):
    """A primary that said at second 100 of the node's timer that it is noon, and that its keeper lives."""

    def __init__(self, as_of_ms: int | None = NOON_MS - 300) -> None:
        super().__init__(cast("Any", _NoEngine()), Renewed("keeper", 5_000), lambda: self.now_s)
        self.now_s = 100.0
        self._said = Told(copy(as_of_ms), 100.0)

    def ask(self) -> Told:
        return self._said


class _NoEngine:
    def execution_options(self, **_options: object) -> None:
        return None


def copy(as_of_ms: int | None, **other: Any) -> Standing:
    return Standing(7, SCHEMA_VERSION, as_of_ms, NOON_MS)._replace(**other)


def test_a_copy_is_as_old_as_the_last_renewal_that_it_has() -> None:
    primary = Noon()
    assert primary.behind_s(copy(NOON_MS - 400)) == 0.4
    primary.now_s += 1.5
    assert primary.behind_s(copy(NOON_MS - 400)) == pytest.approx(1.9)
    primary.must_be_recent(copy(NOON_MS - 400))
    primary.now_s += 0.2
    with pytest.raises(ReplicaAway, match=r"it is 2\.1 s behind the primary, and 2 s are allowed"):
        primary.must_be_recent(copy(NOON_MS - 400))


@pytest.mark.parametrize("skew_ms", [-3_600_000, 0, 3_600_000])
def test_the_clock_of_a_copy_makes_it_neither_older_nor_newer(skew_ms: int) -> None:
    primary = Noon()
    primary.must_be_recent(copy(NOON_MS - LAG_MS, now_ms=NOON_MS + skew_ms))
    with pytest.raises(ReplicaAway):
        primary.must_be_recent(copy(NOON_MS - LAG_MS - 1, now_ms=NOON_MS + skew_ms))


def test_a_copy_from_before_the_primarys_clock_was_set_back_is_not_believed() -> None:
    primary = Noon()
    assert primary.behind_s(copy(NOON_MS + STEP_MS)) == 0.0
    for check in (primary.must_be_recent, lambda stands: primary.must_have_come_to(NOON_MS - 1, stands)):
        with pytest.raises(ReplicaAway, match="still to come: the primary's clock was set"):
            check(copy(NOON_MS + STEP_MS + 1))


def test_what_was_committed_before_a_moment_is_there_once_a_later_renewal_is() -> None:
    primary = Noon()
    primary.must_have_come_to(NOON_MS - 400, copy(NOON_MS - 400))
    for stands in (copy(NOON_MS - 401), copy(None)):
        with pytest.raises(ReplicaAway, match="has not come to where the primary was"):
            primary.must_have_come_to(NOON_MS - 400, stands)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"ledger_id": 8}, "another ledger"),
        ({"ledger_id": None}, "another ledger"),
        ({"schema": "0001"}, "it has schema 0001"),
        ({"schema": None}, "it has schema None"),
    ],
)
def test_what_is_no_copy_is_never_good_enough(other: dict[str, Any], said: str) -> None:
    primary = Noon()
    stands = copy(NOON_MS, **other)
    for check in (
        primary.must_be_recent, primary.compared, lambda found: primary.must_have_come_to(NOON_MS - 400, found)
    ):  # fmt: skip
        with pytest.raises(ReplicaAway, match=said):
            check(stands)


def test_people_are_told_how_far_a_copy_has_come() -> None:
    assert Noon().compared(copy(NOON_MS - 600)) == "at most 0.6 s behind"
    with pytest.raises(ReplicaAway, match="behind the primary"):
        Noon().compared(copy(NOON_MS - LAG_MS - 1))
    with pytest.raises(ReplicaAway, match="no keeper renews"):
        Noon().compared(copy(None))


@pytest.mark.parametrize("as_of_ms", [None, NOON_MS - 86_400_000])
def test_without_a_keeper_a_copy_is_held_against_the_last_renewal(as_of_ms: int | None) -> None:
    primary = Noon(as_of_ms)
    assert "as far as the last keeper got" in primary.compared(copy(as_of_ms))
    with pytest.raises(ReplicaAway, match="has not come to where the primary was"):
        primary.compared(copy(NOON_MS - 86_400_001))
