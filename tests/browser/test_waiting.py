"""A queued campaign in a real browser: the page waits for the decision, with a script and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from headgate.participant.pages_text import texts
from tests.acceptance.product import Server
from tests.acceptance.queued_house import SLUG, House
from tests.browser.states import CODE, Claims, Visitor, happens, requests_to, reserve
from tests.browser.test_access import crowded_targets, violations
from tests.servers import valkey


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory: Path = tmp_path_factory.mktemp("queued")
    with valkey(directory) as store:
        made = House(directory, store.url)
        made.create(0, pools=(("central", 1_000), ("last", 1)))
        made.start()
        yield made
        made.end()


@pytest.fixture(scope="module")
def server(house: House) -> Server:
    """What the visitors of this module see."""
    return house.nodes[0]


@pytest.fixture
def stopped(house: House) -> Iterator[list[int]]:
    """Consumers that take nothing until a test lets them."""
    pids = house.stop_consumers()
    yield pids
    house.go_on(pids)


def test_whoever_waits_is_told_so_and_has_the_code_as_soon_as_it_is_decided(
    visitor: Visitor, house: House, stopped: list[int]
) -> None:
    page = visitor(f"/c/{SLUG}")
    looks = requests_to(page, "/claims/mine")
    reserve(page, "Shop central")
    expect(page.locator("#progress")).to_have_text(texts("en")["reserve.pending"])
    happens(page, "it looks more than once", lambda: len(looks) > 1)
    expect(page.locator("#result")).to_be_hidden()
    house.go_on(stopped)
    expect(page.locator("#code")).to_have_text(CODE)
    assert house.waiting() == 0


def reserve_in_chinese(page: Page) -> None:
    page.get_by_role("radio", name="药房 central").check()
    page.get_by_role("button", name="立即预约").click()


def test_a_request_that_was_lost_is_sent_again_with_the_same_key(
    visitor: Visitor, house: House, stopped: list[int]
) -> None:
    page = visitor(f"/c/{SLUG}", locale="zh-CN")
    claims = Claims(page)
    reserve_in_chinese(page)
    expect(page.locator("#progress")).to_have_text(texts("zh")["reserve.pending"])
    house.store.flushall()
    happens(page, "it asks again", lambda: len(claims.keys) == 2)
    house.go_on(stopped)
    expect(page.locator("#code")).to_have_text(CODE)
    assert len(set(claims.keys)) == 1


def test_whoever_waited_in_vain_is_told_why(visitor: Visitor, house: House, stopped: list[int]) -> None:
    page = visitor(f"/c/{SLUG}")
    api, other = house.apis[0], house.apis[0].session()
    assert api.claim(SLUG, other, "last").status_code == 202
    reserve(page, "Shop last")
    expect(page.locator("#progress")).not_to_have_text("Reserving …")
    house.go_on(stopped)
    expect(page.get_by_role("alert")).to_have_text("There is none left of this one. Please choose another.")
    reserve(page, "Shop central")
    expect(page.locator("#code")).to_have_text(CODE)


def test_whoever_has_one_and_asks_again_is_shown_it(visitor: Visitor) -> None:
    page = visitor(f"/c/{SLUG}")
    reserve(page, "Shop central")
    expect(page.locator("#code")).to_have_text(CODE)
    code = page.locator("#code").inner_text()
    page.reload()
    reserve(page, "Shop central")
    expect(page.locator("#code")).to_have_text(code)
    expect(page.locator("#outcome")).to_have_text("You have a reservation")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_the_page_of_one_s_claims_shows_the_decision_by_itself(
    visitor: Visitor, house: House, stopped: list[int], axe_source: str, script: bool
) -> None:
    page = visitor(f"/c/{SLUG}", java_script_enabled=False)
    page.get_by_role("radio", name="Shop central").check()
    page.get_by_role("button", name="Reserve").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("Waiting for the decision")
    if script:
        cookies = [{"name": one["name"], "value": one["value"], "url": house.urls[0]} for one in page.context.cookies()]
        address, page = page.url, visitor("about:blank")
        page.context.add_cookies(cookies)  # type: ignore[arg-type]  # as it asks for them
        page.goto(address)
        expect(page.get_by_role("heading", level=2)).to_have_text("Waiting for the decision")
        assert violations(page, axe_source) == []
        assert crowded_targets(page) == []
    house.go_on(stopped)
    expect(page.locator("strong")).to_have_text(CODE)
    expect(page.get_by_text("Your reservation is recorded.")).to_be_visible()
    assert page.locator("h2#waiting").count() == 0
