"""Campaigns on several ledgers, here SQLite files: found wherever they live, made in one place only."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from headgate.domain.campaign import Control
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.ports.ledger import CampaignLedger, LedgerUnavailable, SlugTaken, UnknownCampaign
from headgate.services.campaigns import Campaigns, Home, UnknownShard
from headgate.settings import NoLedger
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import ledger_id, make_ledger, open_engine
from headgate.storage.sql.placements import SqlPlacements
from tests.fakes import HandClock

NAMES = ("main", "east", "west")
OPENS = datetime.fromisoformat("2026-12-01T09:00:00+08:00")


def definition(slug: str, opens_in: timedelta = timedelta()) -> CampaignDefinition:
    opens = OPENS + opens_in
    return CampaignDefinition(slug, {"en": slug}, opens, opens + timedelta(hours=1), pools=[PoolDefinition("a", 5)])


class Fleet:
    """Ledgers by their names; those in `away` cannot be asked."""

    def __init__(self, directory: Path) -> None:
        self.engines: dict[str, sa.Engine] = {}
        self.away: set[str] = set()
        self.asked: Counter[str] = Counter()
        for name in NAMES:
            make_ledger(directory / f"{name}.db")
            self.engines[name] = open_engine(directory / f"{name}.db")

    def ledger(self, name: str) -> CampaignLedger:
        return SqlCampaigns(self.engines[name], HandClock())

    def home(self, name: str) -> Home:
        self.asked[name] += 1
        if name in self.away:
            raise LedgerUnavailable(f"{name} is away")
        engine = self.engines[name]
        return Home(ledger_id(engine), SqlCampaigns(engine, HandClock()), SqlPlacements(engine))

    def campaigns(self, *names: str) -> Campaigns:
        """As a program sees them that has just begun, with the settings of these ledgers."""
        return Campaigns({name: partial(self.home, name) for name in names or NAMES})

    def slugs(self) -> dict[str, list[str]]:
        return {name: [campaign.slug for campaign in self.ledger(name).campaigns()] for name in NAMES}

    def everything(self) -> list[str]:
        return [slug for slugs in self.slugs().values() for slug in slugs]

    def close(self) -> None:
        for engine in self.engines.values():
            engine.dispose()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.close()


def test_new_campaigns_go_where_the_fewest_are(fleet: Fleet) -> None:
    campaigns = fleet.campaigns()
    for number in range(7):
        campaigns.create(definition(f"c{number}"), None, actor="test")
    assert fleet.slugs() == {"main": ["c0", "c3", "c6"], "east": ["c1", "c4"], "west": ["c2", "c5"]}


def test_a_campaign_that_is_over_takes_no_place(fleet: Fleet) -> None:
    campaigns = fleet.campaigns("main", "east")
    campaigns.create(definition("closed"), "main", actor="test")
    campaigns.of("closed").control("closed", Control.CLOSED, expected=Control.ACTIVE, command="close", actor="test")
    campaigns.create(definition("earlier", -timedelta(days=1)), "main", actor="test")
    campaigns.create(definition("now"), "east", actor="test")
    campaigns.create(definition("next"), None, actor="test")
    assert fleet.slugs()["main"] == ["closed", "earlier", "next"]


def test_a_campaign_is_found_wherever_it_lives_and_looked_for_once(fleet: Fleet) -> None:
    fleet.campaigns().create(definition("lamps"), "west", actor="test")
    campaigns = fleet.campaigns()
    assert campaigns.find("lamps")[0] == campaigns.shard_of("lamps") == "west"
    assert campaigns.of("lamps").campaign("lamps").slug == "lamps"
    fleet.away = {"main", "east"}
    assert campaigns.of("lamps").tally("lamps").ok
    with pytest.raises(UnknownCampaign, match="there is no campaign 'masks'"):
        fleet.campaigns("west").of("masks").campaign("masks")


def test_what_an_absent_ledger_may_have_is_not_called_unknown(fleet: Fleet) -> None:
    campaigns = fleet.campaigns()
    fleet.away = {"east"}
    with pytest.raises(LedgerUnavailable, match="east is away"):
        campaigns.of("lamps")
    fleet.away = set()
    with pytest.raises(UnknownCampaign):
        campaigns.of("lamps")
    fleet.campaigns().create(definition("lamps"), "east", actor="test")
    assert campaigns.shard_of("lamps") == "east", "what was unknown may come"


def test_a_list_says_which_ledger_it_is_without(fleet: Fleet) -> None:
    for name in NAMES:
        fleet.campaigns().create(definition(f"on-{name}"), name, actor="test")
    fleet.away = {"main"}
    listing = fleet.campaigns().all()
    assert [(found.shard, found.campaign.slug) for found in listing.found] == [("east", "on-east"), ("west", "on-west")]
    assert {name: str(error) for name, error in listing.away.items()} == {"main": "main is away"}
    fleet.away = set(NAMES)
    with pytest.raises(LedgerUnavailable, match="main is away"):
        fleet.campaigns().all()


def test_a_ledger_that_was_never_made_has_no_campaigns(fleet: Fleet) -> None:
    def absent() -> Home:
        raise NoLedger("there is no ledger yet")

    fleet.campaigns().create(definition("lamps"), "main", actor="test")
    campaigns = Campaigns({"main": lambda: fleet.home("main"), "new": absent})
    assert campaigns.shard_of("lamps") == "main"
    assert [found.campaign.slug for found in campaigns.all().found] == ["lamps"]
    with pytest.raises(UnknownCampaign):
        campaigns.of("masks")
    with pytest.raises(NoLedger):
        Campaigns({"new": absent, "other": absent}).all()


@pytest.mark.parametrize("lives_on", NAMES)
@pytest.mark.parametrize("wanted", [None, *NAMES])
def test_a_slug_is_taken_on_all_ledgers(fleet: Fleet, lives_on: str, wanted: str | None) -> None:
    fleet.campaigns().create(definition("lamps"), lives_on, actor="test")
    with pytest.raises(SlugTaken, match=f"exists already, on '{lives_on}'"):
        fleet.campaigns().create(definition("lamps"), wanted, actor="test")
    assert fleet.everything() == ["lamps"]


def test_nothing_is_made_while_a_ledger_is_away_or_not_known(fleet: Fleet) -> None:
    fleet.away = {"west"}
    with pytest.raises(LedgerUnavailable, match="west is away"):
        fleet.campaigns().create(definition("lamps"), "main", actor="test")
    fleet.away = set()
    with pytest.raises(UnknownShard, match="there is no ledger 'south'; known are main, east, west"):
        fleet.campaigns().create(definition("lamps"), "south", actor="test")
    assert fleet.everything() == []


def test_whoever_was_cut_off_before_the_campaign_was_made_goes_on_at_the_same_place(fleet: Fleet) -> None:
    fleet.home("main").placements.place("lamps", fleet.home("west").id)
    with pytest.raises(SlugTaken, match="the slug 'lamps' belongs to 'west'; create the campaign there"):
        fleet.campaigns().create(definition("lamps"), "east", actor="test")
    with pytest.raises(SlugTaken, match="belongs to a ledger that the settings do not name"):
        fleet.campaigns("main", "east").create(definition("lamps"), None, actor="test")
    fleet.campaigns().create(definition("lamps"), None, actor="test")
    assert fleet.slugs() == {"main": [], "east": [], "west": ["lamps"]}


def test_a_program_that_knows_only_the_first_ledger_takes_no_slug_of_another(fleet: Fleet) -> None:
    fleet.campaigns().create(definition("lamps"), "east", actor="test")
    fleet.home("main").placements.place("begun", fleet.home("east").id)
    for slug in ("lamps", "begun"):
        with pytest.raises(SlugTaken, match="belongs to a campaign of another ledger"):
            fleet.campaigns("main").create(definition(slug), None, actor="test")
    fleet.campaigns("main").create(definition("masks"), None, actor="test")
    with pytest.raises(SlugTaken):
        fleet.home("main").placements.place("masks", fleet.home("east").id)


def test_of_two_who_look_before_either_has_made_it_one_makes_it(fleet: Fleet) -> None:
    """Both have seen that no ledger has the slug, and each has chosen another ledger."""
    both_looked = threading.Barrier(2)
    outcomes: list[str] = []

    def make(wanted: str) -> None:
        homes = {name: fleet.home(name) for name in NAMES}
        placements = homes["main"].placements

        class Waits:
            def place(self, slug: str, ledger: int) -> int:
                both_looked.wait(30)
                return placements.place(slug, ledger)

            def placed(self) -> dict[str, int]:
                return placements.placed()

        homes["main"] = homes["main"]._replace(placements=Waits())
        try:
            campaigns = Campaigns({name: partial(homes.__getitem__, name) for name in NAMES})
            campaigns.create(definition("lamps"), wanted, actor="test")
            outcomes.append(wanted)
        except SlugTaken:
            outcomes.append("taken")

    threads = [threading.Thread(target=make, args=(name,)) for name in ("east", "west")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    made = [name for name in outcomes if name != "taken"]
    assert sorted(outcomes) == sorted([*made, "taken"])
    assert {name: slugs for name, slugs in fleet.slugs().items() if slugs} == {made[0]: ["lamps"]}


def test_one_ledger_under_two_names_and_one_slug_on_two_ledgers_are_errors(fleet: Fleet) -> None:
    campaigns = fleet.campaigns()
    campaigns.create(definition("lamps"), "east", actor="test")
    campaigns.check_apart()
    fleet.ledger("west").create(definition("lamps"), actor="a restored backup")
    with pytest.raises(ValueError, match="'east' and 'west' both have a campaign 'lamps'"):
        fleet.campaigns().check_apart()
    fleet.away = {"east"}
    fleet.campaigns().check_apart()
    fleet.away = set()
    fleet.engines["west"] = fleet.engines["main"]
    with pytest.raises(ValueError, match="'main' and 'west' are the same ledger"):
        fleet.campaigns().check_apart()


def test_campaigns_on_a_ledger_that_is_not_named_are_known(fleet: Fleet) -> None:
    campaigns = fleet.campaigns()
    for slug, name in (("lamps", "east"), ("tents", "west"), ("masks", "main")):
        campaigns.create(definition(slug), name, actor="test")
    assert campaigns.elsewhere() == []
    assert fleet.campaigns("main", "west").elsewhere() == ["lamps"]
    assert fleet.campaigns("main").elsewhere() == ["lamps", "tents"]
    fleet.away = {"west"}
    with pytest.raises(LedgerUnavailable):
        fleet.campaigns("main", "west").elsewhere()
