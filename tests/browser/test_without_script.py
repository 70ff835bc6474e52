"""The same way from link to code for a browser that runs no scripts."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.acceptance.client import Api, confirmed
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, create_campaign, eventually, opened, run_cli
from tests.browser.states import CODE, Visitor


def test_from_choice_to_code_and_back(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}?lang=zh", java_script_enabled=False)
    page.get_by_role("radio", name="药房 west").check()
    page.get_by_role("button", name="立即预约").click()
    expect(page).to_have_url(re.compile(rf"/c/{masks}/mine\?notice=confirmed&lang=zh$"))
    expect(page.locator("strong")).to_have_text(CODE)
    expect(page.locator("section h2")).to_have_text("药房 west")
    expect(page.get_by_role("button", name="确认取消")).to_be_hidden()
    page.get_by_text("取消这个预约").click()
    page.get_by_role("button", name="确认取消").click()
    expect(page.locator("section .cancelled")).to_have_text("已取消")
    page.get_by_role("link", name="返回活动页").click()
    expect(page.get_by_role("button", name="立即预约")).to_be_visible()


def test_thousands_are_searched_by_the_server(visitor: Visitor, pharmacies: str) -> None:
    page = visitor(f"/c/{pharmacies}", java_script_enabled=False)
    expect(page.get_by_role("button", name="Reserve")).to_be_hidden()
    page.get_by_role("searchbox").fill("松山健康")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("radio").check()
    page.get_by_role("button", name="Reserve").click()
    expect(page.locator("strong")).to_have_text(CODE)
    expect(page.locator("section h2")).to_have_text("松山健康服務中心")


def test_before_opening_it_tells_the_time_and_offers_nothing(
    visitor: Visitor, server: Server, api: Api, slug: str
) -> None:
    create_campaign(server.data, slug, opens_at="2098-12-01T09:00:00+08:00", closes_at="2098-12-01T12:00:00+08:00")
    eventually("the campaign is known", lambda: api.phase(slug))
    page = visitor(f"/c/{slug}", java_script_enabled=False)
    expect(page.locator("time")).to_have_text("Monday, 1 December 2098, 09:00 (UTC+8)")
    expect(page.get_by_role("button")).to_have_count(0)
    page.get_by_role("link", name="Reload this page then").click()
    expect(page).to_have_url(re.compile(rf"/c/{slug}\?lang=en$"))


def test_it_can_be_reserved_after_a_reload_once_it_is_open(
    visitor: Visitor, server: Server, api: Api, slug: str
) -> None:
    opened(server, api, slug, (("central", 5),))
    run_cli("campaign", "pause", slug, data=server.data).ok()
    eventually("the campaign is paused", lambda: api.phase(slug) == "paused")
    page = visitor(f"/c/{slug}", java_script_enabled=False)
    expect(page.get_by_role("radio")).to_be_visible()
    expect(page.get_by_role("button")).to_have_count(0)
    run_cli("campaign", "resume", slug, data=server.data).ok()
    eventually("the campaign is open", lambda: api.phase(slug) == "open")
    page.reload()
    page.get_by_role("radio").check()
    page.get_by_role("button", name="Reserve").click()
    expect(page.locator("strong")).to_have_text(CODE)


def test_a_refusal_is_told_on_the_page(visitor: Visitor, server: Server, api: Api, slug: str) -> None:
    opened(server, api, slug, (("central", 1), ("west", 5)))
    page = visitor(f"/c/{slug}", java_script_enabled=False)
    page.get_by_role("radio", name="Shop central").check()
    confirmed(api.claim(slug, api.session(), "central"))
    page.get_by_role("button", name="Reserve").click()
    expect(page.get_by_role("alert")).to_have_text("There is none left of this one. Please choose another.")
    expect(page).to_have_title("Not reserved: Free masks")
    page.get_by_role("radio", name="Shop west").check()
    page.get_by_role("button", name="Reserve").click()
    expect(page.locator("strong")).to_have_text(CODE)


def test_a_second_one_is_asked_for_on_the_page_of_the_first(
    visitor: Visitor, server: Server, api: Api, slug: str
) -> None:
    opened(server, api, slug, (("central", 5), ("west", 5)), per_person=2)
    page = visitor(f"/c/{slug}", java_script_enabled=False)
    page.get_by_role("radio", name="Shop central").check()
    page.get_by_role("button", name="Reserve").click()
    page.get_by_role("radio", name="Shop central").check()
    page.get_by_role("button", name="Reserve another").click()
    expect(page.locator("strong")).to_have_count(2)
    expect(page.get_by_role("button", name="Reserve another")).to_have_count(0)
    assert [claim.pool for claim in Ledger(server.data).claims(slug)] == ["central", "central"]


def test_an_address_with_nothing_behind_it_says_so(visitor: Visitor) -> None:
    page = visitor("/c/nothing-here", java_script_enabled=False, locale="zh-CN")
    expect(page.get_by_role("heading", level=1)).to_have_text("这里没有内容")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is here")
