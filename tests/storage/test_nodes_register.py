"""The register of nodes, on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from headgate.ports.nodes import GONE_S, NodeCard
from headgate.services.nodes import differing
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.leases import SqlLeases
from headgate.storage.sql.nodes import SqlNodes
from headgate.storage.system import SystemClock
from tests.fakes import HandClock

CARD = NodeCard("1.2.3", "0009", "10.0.0.7:8000", 2, "abcdef")


@pytest.fixture
def clock() -> HandClock:
    return HandClock(1_800_000_000_000)


@pytest.fixture
def engine(place: Path | sa.URL) -> Iterator[sa.Engine]:
    made = open_engine(place)
    upgrade(made)
    yield made
    made.dispose()


def test_a_node_is_seen_until_it_has_been_silent_for_too_long(engine: sa.Engine, clock: HandClock) -> None:
    register = SqlNodes(engine, clock)
    register.report("web-1", "participant", CARD)
    (seen,) = register.all()
    assert (seen.name, seen.plane, seen.card, seen.gone) == ("web-1", "participant", CARD, False)
    assert seen.seen_at_ms == clock.now_ms()
    clock.forward(GONE_S - 0.001)
    assert not register.all()[0].gone
    clock.forward(0.001)
    assert register.all()[0].gone
    register.report("web-1", "participant", CARD)
    assert not register.all()[0].gone


def test_a_change_of_a_node_is_counted_and_a_repetition_is_not(engine: sa.Engine, clock: HandClock) -> None:
    register = SqlNodes(engine, clock)
    for version in ("1.2.3", "1.2.3", "1.3.0", "1.3.0"):
        register.report("web-1", "participant", msgspec.structs.replace(CARD, version=version))
    (seen,) = register.all()
    assert (seen.card.version, seen.changes) == ("1.3.0", 1)


def test_a_node_that_is_gone_can_be_forgotten_and_a_living_one_can_not(engine: sa.Engine, clock: HandClock) -> None:
    register = SqlNodes(engine, clock)
    for name in ("web-1", "eb-1", "web_1"):
        register.report(name, "participant", CARD)
    assert register.forget("web-1") == 0
    clock.forward(GONE_S)
    register.report("web_1", "participant", CARD)
    assert (register.forget("web_1"), register.forget("b-1")) == (0, 0)
    assert register.forget("web-1") == 1
    assert [node.name for node in register.all()] == ["eb-1", "web_1"]


def test_the_keepers_lease_is_no_node(engine: sa.Engine, clock: HandClock) -> None:
    SqlLeases(engine, clock).acquire("keeper", "somebody", 1_000)
    assert SqlNodes(engine, clock).all() == []


def test_the_clock_of_a_server_decides(engine: sa.Engine) -> None:
    register = SqlNodes(engine, None if engine.dialect.name != "sqlite" else SystemClock())
    register.report("web-1", "keeper", CARD)
    assert not register.all()[0].gone


def test_what_differs_from_most_nodes_is_named(engine: sa.Engine, clock: HandClock) -> None:
    register = SqlNodes(engine, clock)
    register.report("gone", "participant", msgspec.structs.replace(CARD, version="0.9"))
    clock.forward(GONE_S)
    for name, card in {
        "a": CARD,
        "b": CARD,
        "c": msgspec.structs.replace(CARD, version="1.3.0", settings="other"),
    }.items():
        register.report(name, "participant", card)
    assert differing(register.all()) == {("c", "participant"): ["version", "settings"]}
