"""What the first of several ledgers promises about slugs, on SQLite, PostgreSQL and MariaDB alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from headgate.ports.ledger import SlugTaken
from headgate.storage.sql.engine import open_engine
from headgate.storage.sql.placements import SqlPlacements
from tests.storage.house import House

CREATORS = 8


@pytest.fixture
def house(place: Path | sa.URL) -> Iterator[House]:
    built = House(place)
    yield built
    built.close()


def test_a_slug_belongs_to_the_ledger_that_was_named_first(house: House) -> None:
    placements = SqlPlacements(house.engine)
    assert placements.place("lamps", 2**62) == 2**62
    assert placements.place("lamps", 7) == 2**62
    assert placements.place("other", 7) == 7


def test_every_slug_that_was_given_is_told(house: House) -> None:
    placements = SqlPlacements(house.engine)
    assert placements.placed() == {}
    placements.place("lamps", 7)
    placements.place("tents", 2**62)
    assert placements.placed() == {"lamps": 7, "tents": 2**62}


def test_a_slug_that_has_a_campaign_is_given_to_nobody(house: House) -> None:
    with pytest.raises(SlugTaken, match="a campaign with the slug 'masks' exists already"):
        SqlPlacements(house.engine).place("masks", 7)


def test_those_who_ask_at_once_are_told_the_same(house: House, place: Path | sa.URL) -> None:
    engines = {own: open_engine(place) for own in range(1, CREATORS + 1)}
    with ThreadPoolExecutor(CREATORS) as threads:
        for number in range(10):
            asked = [threads.submit(SqlPlacements(engine).place, f"s{number}", own) for own, engine in engines.items()]
            told = [question.result() for question in asked]
            assert sorted(Counter(told).values()) == [CREATORS]
    for engine in engines.values():
        engine.dispose()
