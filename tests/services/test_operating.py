"""What operators may do to a campaign, and when, on a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headgate.domain.campaign import CONTROL_LIFE, Campaign, Control
from headgate.domain.claim import ClaimRequest, Granted
from headgate.domain.definition import UNITS_MAX, CampaignDefinition, PoolDefinition
from headgate.ports.ledger import UnknownCampaign, UnknownPool
from headgate.services.operating import NotPossible, command, topup
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.sqlite_claims import SqliteClaims
from tests.fakes import NOON_MS, HandClock, SeededEntropy

HOUR_MS = 3_600_000
OPENS_MS, CLOSES_MS = NOON_MS - HOUR_MS, NOON_MS + HOUR_MS
COMMANDS = sorted({event for _, event in CONTROL_LIFE})
IMPOSSIBLE = [(control, name) for control in Control for name in COMMANDS if (control, name) not in CONTROL_LIFE]
WAY_TO: dict[Control, tuple[str, ...]] = {
    Control.ACTIVE: (), Control.PAUSED: ("pause",), Control.CLOSED: ("close",),
}  # fmt: skip


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def campaigns(tmp_path: Path, clock: HandClock) -> Iterator[SqlCampaigns]:
    engine = open_engine(tmp_path / "ledger.db")
    upgrade(engine)
    opened = SqlCampaigns(engine, clock)
    opens, closes = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (OPENS_MS, CLOSES_MS))
    opened.create(
        CampaignDefinition("masks", {"en": "Masks"}, opens, closes, pools=[PoolDefinition("central", 1)]), actor="test"
    )
    yield opened
    engine.dispose()


def in_state(campaigns: SqlCampaigns, control: Control) -> Campaign:
    for step in WAY_TO[control]:
        command(campaigns, "masks", step, actor="test")
    campaign = campaigns.campaign("masks")
    assert campaign.control is control
    return campaign


def remaining(campaigns: SqlCampaigns) -> list[int]:
    return [stock.remaining for stock in campaigns.stock(1)]


def test_there_is_a_way_to_every_state() -> None:
    assert set(WAY_TO) == set(Control)
    assert COMMANDS == ["close", "pause", "resume"]
    assert len(IMPOSSIBLE) == 5


@pytest.mark.parametrize(("control", "name"), CONTROL_LIFE)
def test_what_the_life_cycle_allows_is_done(campaigns: SqlCampaigns, control: Control, name: str) -> None:
    before = in_state(campaigns, control)
    after = command(campaigns, "masks", name, actor="mei")
    assert after.control is CONTROL_LIFE[control, name]
    assert campaigns.campaign("masks") == after
    assert after.version > before.version, "workers read a campaign again when its version has grown"


@pytest.mark.parametrize(("control", "name"), IMPOSSIBLE)
def test_what_the_life_cycle_does_not_allow_is_refused_and_changes_nothing(
    campaigns: SqlCampaigns, control: Control, name: str
) -> None:
    before = in_state(campaigns, control)
    with pytest.raises(NotPossible, match=f"'masks' is {control}, so '{name}' is not possible") as refused:
        command(campaigns, "masks", name, actor="mei")
    assert campaigns.campaign("masks") == before
    for possible in COMMANDS:
        named = f" {possible}" in str(refused.value).partition("possible are:")[2]
        assert named == ((control, possible) in CONTROL_LIFE), "the message names what is possible, and nothing else"


@pytest.mark.parametrize("name", ["", "open", "Pause", "pause ", "active"])
def test_a_command_that_nobody_knows_is_not_possible(campaigns: SqlCampaigns, name: str) -> None:
    with pytest.raises(NotPossible, match="possible are: close, pause"):
        command(campaigns, "masks", name, actor="mei")


def test_an_unknown_campaign_is_named(campaigns: SqlCampaigns) -> None:
    with pytest.raises(UnknownCampaign, match="nowhere"):
        command(campaigns, "nowhere", "pause", actor="mei")
    with pytest.raises(UnknownCampaign, match="nowhere"):
        topup(campaigns, "nowhere", "central", 1, NOON_MS, actor="mei")


class Overtaken(SqlCampaigns):
    """Somebody else closes the campaign between the look and the change."""

    def campaign(self, slug: str) -> Campaign:
        seen = super().campaign(slug)
        self.control(slug, Control.CLOSED, expected=Control.ACTIVE, command="close", actor="faster")
        return seen


def test_a_command_on_what_was_just_changed_changes_nothing(campaigns: SqlCampaigns, clock: HandClock) -> None:
    overtaken = Overtaken(campaigns._engine, clock)
    with pytest.raises(NotPossible, match="changed by somebody else"):
        command(overtaken, "masks", "pause", actor="mei")
    assert campaigns.campaign("masks").control is Control.CLOSED, "what has closed was paused, and could be resumed"


@pytest.mark.parametrize("control", [Control.ACTIVE, Control.PAUSED])
@pytest.mark.parametrize("now_ms", [OPENS_MS - HOUR_MS, NOON_MS, CLOSES_MS - 1])
def test_units_can_be_added_until_the_campaign_is_over(campaigns: SqlCampaigns, control: Control, now_ms: int) -> None:
    before = in_state(campaigns, control)
    stock = topup(campaigns, "masks", "central", 4, now_ms, actor="mei")
    assert (stock.remaining, remaining(campaigns)) == (5, [5])
    after = campaigns.campaign("masks")
    assert (after.capacity, after.version > before.version) == (5, True)


def test_units_can_be_added_to_what_is_sold_out(campaigns: SqlCampaigns, clock: HandClock, tmp_path: Path) -> None:
    claims = SqliteClaims(tmp_path / "ledger.db", clock, SeededEntropy())
    (decision,) = claims.confirm([ClaimRequest(1, 1, b"p" * 16)], [True]).decisions
    claims.close()
    assert isinstance(decision, Granted)
    assert remaining(campaigns) == [0]
    assert topup(campaigns, "masks", "central", 2, NOON_MS, actor="mei").remaining == 2
    assert campaigns.tally("masks").ok


@pytest.mark.parametrize(
    ("control", "now_ms"),
    [(Control.CLOSED, OPENS_MS - HOUR_MS), (Control.CLOSED, NOON_MS), (Control.ACTIVE, CLOSES_MS),
     (Control.PAUSED, CLOSES_MS)],
)  # fmt: skip
def test_units_for_a_campaign_that_is_over_are_refused(campaigns: SqlCampaigns, control: Control, now_ms: int) -> None:
    before = in_state(campaigns, control)
    with pytest.raises(NotPossible, match="'masks' has closed, so nobody could get these 4 units"):
        topup(campaigns, "masks", "central", 4, now_ms, actor="mei")
    assert campaigns.campaign("masks") == before
    assert remaining(campaigns) == [1]


def test_a_topup_that_is_too_large_or_of_no_pool_changes_nothing(campaigns: SqlCampaigns) -> None:
    with pytest.raises(ValueError, match=str(UNITS_MAX)):
        topup(campaigns, "masks", "central", UNITS_MAX, NOON_MS, actor="mei")
    with pytest.raises(UnknownPool, match="elsewhere"):
        topup(campaigns, "masks", "elsewhere", 1, NOON_MS, actor="mei")
    assert remaining(campaigns) == [1]


def test_who_did_what_is_recorded(campaigns: SqlCampaigns) -> None:
    command(campaigns, "masks", "pause", actor="mei")
    topup(campaigns, "masks", "central", 4, NOON_MS, actor="jun")
    with campaigns._engine.connect() as connection:
        trail = connection.exec_driver_sql("SELECT actor, action FROM operation ORDER BY id").all()
    assert [(actor, action.rpartition(".")[2]) for actor, action in trail[-2:]] == [("mei", "pause"), ("jun", "topup")]
