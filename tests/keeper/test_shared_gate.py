"""The keeper's duty towards a gate that nodes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headgate.lab.simulation.shared_gate import SimulatedGate
from headgate.ports.shared_gate import NOWHERE
from headgate.services.following import GateFollower
from tests.fakes import NOON_MS, no_news
from tests.keeper.house import HOUR_MS, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path)
    yield built
    built.close()


def test_a_shared_gate_is_brought_up_to_the_ledger_while_a_campaign_is_open(house: House) -> None:
    gate = SimulatedGate()
    house.create()
    house.create("later", opens_ms=NOON_MS + HOUR_MS)
    keeper = house.keeper(follower=GateFollower(house.claims, gate))
    keeper.turn()
    assert (gate.place(1), gate.place(2)) == (0, NOWHERE)
    house.sell()
    keeper.turn()
    assert gate.place(1) == 1


def test_a_shared_gate_that_is_away_is_said_once_and_keeps_nothing_from_being_published(house: House) -> None:
    gate = SimulatedGate()
    house.create()
    keeper = house.keeper(follower=GateFollower(house.claims, gate))
    gate.away = True
    with capture_logs([no_news]) as logs:
        for _ in range(3):
            keeper.turn()
    assert [log["event"] for log in logs] == ["gate_not_followed"]
    assert house.state()["phase"] == "open"
    gate.away = False
    keeper.turn()
    assert gate.place(1) == 0
