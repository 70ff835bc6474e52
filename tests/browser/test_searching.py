"""Thousands of pools: found by typing, with and without a script."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from playwright.sync_api import Page, expect

from tests.acceptance.client import Api
from tests.acceptance.product import Server, eventually, run_cli
from tests.browser.states import CODE, Visitor, happens, requests_to

NASTY = {
    "image": "<img src=x onerror=alert(1)>",
    "template": "</template></bdi></label><script>alert(2)</script>",
    "attribute": "\"' autofocus onfocus=alert(3) x='",
    "backwards": "\u05e9\u05dc\u05d5\u05dd (something) \u05e2\u05d5\u05dc\u05dd",
    "braces": "{{ 7 * 7 }} ${alert(4)} {count}",
    "long": "W" * 200,
}


def find(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)


def test_the_list_is_asked_for_once_and_only_when_somebody_searches(visitor: Visitor, pharmacies: str) -> None:
    page = visitor("/livez")
    lists = requests_to(page, "/pools")
    states = requests_to(page, f"/api/v1/campaigns/{pharmacies}?")
    page.goto(f"/c/{pharmacies}", wait_until="networkidle")
    assert lists == []
    assert page.get_by_role("radio").count() == 0
    # Whoever only looks asks at one address for all, and gets no pools.
    assert {url.partition("?")[2] for url in states} == {"pools="}
    find(page, "花蓮")
    expect(page.get_by_role("radio")).not_to_have_count(0)
    find(page, "松山")
    expect(page.get_by_role("radio", name="松山健康服務中心")).to_be_visible()
    assert len(lists) == 1


def test_at_most_thirty_are_shown_and_all_are_counted(visitor: Visitor, pharmacies: str) -> None:
    page = visitor(f"/c/{pharmacies}")
    expect(page.locator("#found")).to_have_text("6588 to choose from")
    find(page, "藥局")
    expect(page.get_by_role("radio")).to_have_count(30)
    expect(page.locator("#found")).to_have_text(re.compile(r"^Found: \d{4}\. The first 30 are shown"))
    find(page, "松山 健康")
    expect(page.get_by_role("radio")).to_have_count(1)
    expect(page.locator("#found")).to_have_text("Found: 1")
    find(page, "no such pharmacy")
    expect(page.get_by_role("radio")).to_have_count(0)
    expect(page.locator("#found")).to_have_text("Nothing found. Try fewer or other words.")
    expect(page.get_by_role("button", name="Reserve")).to_be_hidden()


def test_width_and_case_do_not_matter_and_numbers_are_found(visitor: Visitor, pharmacies: str) -> None:
    page = visitor(f"/c/{pharmacies}")
    wide = "".join(chr(ord(digit) - ord("0") + ord("\N{FULLWIDTH DIGIT ZERO}")) for digit in "2101010013")
    find(page, wide)
    expect(page.get_by_role("radio")).to_have_count(1)
    expect(page.locator("label.pool")).to_contain_text("松山健康服務中心")


def test_the_keyboard_alone_suffices(visitor: Visitor, pharmacies: str) -> None:
    page = visitor(f"/c/{pharmacies}", viewport={"width": 1200, "height": 900})
    page.get_by_role("searchbox").focus()
    page.keyboard.type("松山")
    expect(page.get_by_role("radio")).to_have_count(4)
    # Enter searches here and leaves the page as it is.
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio").nth(1)).to_be_checked()
    chosen = page.locator("label.pool bdi").nth(1).inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("#code")).to_have_text(CODE)
    expect(page.locator("#place")).to_have_text(chosen)
    assert page.url.endswith(f"/c/{pharmacies}")


def test_what_is_chosen_stays_while_searching_on(visitor: Visitor, pharmacies: str) -> None:
    page = visitor(f"/c/{pharmacies}")
    find(page, "松山健康")
    page.get_by_role("radio").check()
    find(page, "松山")
    expect(page.get_by_role("radio")).to_have_count(4)
    expect(page.get_by_role("radio", name="松山健康服務中心")).to_be_checked()
    find(page, "花蓮縣")
    expect(page.get_by_role("radio")).not_to_have_count(1)
    expect(page.get_by_role("radio", name="松山健康服務中心")).to_be_checked()
    find(page, "nothing at all")
    expect(page.get_by_role("radio")).to_have_count(1)
    expect(page.get_by_role("button", name="Reserve")).to_be_visible()


def test_what_is_shown_is_asked_about_and_what_is_chosen_is_watched(visitor: Visitor, pharmacies: str) -> None:
    page = visitor(f"/c/{pharmacies}")
    asked = requests_to(page, "?pools=")
    find(page, "松山健康")
    happens(page, "the shown one is asked about", lambda: asked and asked[-1].endswith("=2101010013"))
    page.get_by_role("radio").check()
    count = len(asked)
    happens(page, "the chosen one is watched", lambda: len(asked) > count)
    assert asked[-1].endswith("=2101010013")


def test_a_list_that_does_not_come_leaves_the_servers_search(visitor: Visitor, pharmacies: str) -> None:
    page = visitor("/livez")
    page.route("**/pools", lambda route: route.abort())
    page.goto(f"/c/{pharmacies}?lang=zh")
    find(page, "松山健康")
    page.get_by_role("button", name="查找").click()
    expect(page.get_by_role("radio", name="松山健康服務中心")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("松山健康")
    assert "lang=zh" in page.url


def test_hostile_labels_stay_labels(visitor: Visitor, server: Server, api: Api, slug: str) -> None:
    lines = [f'slug = "{slug}"', "opens_at = 2020-01-01T00:00:00Z", "closes_at = 2099-01-01T00:00:00Z"]
    lines.append(f"title = {{ en = '''{NASTY['template']}''' }}")
    for pool, label in NASTY.items():
        lines += ["[[pools]]", f'id = "{pool}"', "units = 5", f"label = {{ en = '''{label}''' }}"]
    for number in range(40):
        lines += ["[[pools]]", f'id = "n{number}"', "units = 5", f"label = {{ zh = '''place {number} </bdi>''' }}"]
    file = server.data.parent / f"{slug}.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    run_cli("campaign", "create", file, data=server.data).ok()
    eventually("the campaign is open", lambda: api.phase(slug) == "open")
    page = visitor(f"/c/{slug}?q=place")
    expect(page.locator("h1")).to_have_text(NASTY["template"])
    expect(page.get_by_role("radio")).to_have_count(30)
    for pool, label in NASTY.items():
        find(page, pool if pool != "long" else "WWWW")
        expect(page.locator(f"input[value={pool}] + .name bdi")).to_have_text(label)
    page.get_by_role("radio").last.check()
    page.get_by_role("button", name="Reserve").click()
    expect(page.locator("#place")).to_have_text(NASTY["long"])
    assert page.locator("main img, main script, [autofocus]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_reservation_that_is_quicker_than_the_search_settles(visitor: Visitor, pharmacies: str) -> None:
    """What the search still had to say is said to nobody: its form is gone by then."""
    page = visitor(f"/c/{pharmacies}")
    find(page, "松山")
    expect(page.get_by_role("radio")).not_to_have_count(0)
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))
    find(page, "松山 健康")
    page.clock.run_for(200)
    expect(page.get_by_role("radio")).to_have_count(1)
    page.get_by_role("radio").check()
    page.get_by_role("button", name="Reserve").click()
    expect(page.locator("#code")).to_have_text(CODE)
    page.clock.run_for(2_000)
    expect(page.locator("#found")).to_have_count(0)
