"""What everybody's devices and bodies need: axe-core's rules, small screens, large text, big targets, little weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.client import Api
from tests.acceptance.product import Server, create_campaign, eventually, opened
from tests.browser.states import Claims, Visitor, refusal

Scene = Callable[[Page], object]

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FIRST_VISIT_MAX = 30 * 1024
TARGET_MIN = 44


@pytest.fixture(scope="session")
def places(server: Server, api: Api, masks: str, pharmacies: str) -> dict[str, str]:
    """A campaign in every phase that lasts."""
    soon = {"opens_at": "2098-12-01T09:00:00+08:00", "closes_at": "2098-12-01T12:00:00+08:00"}
    create_campaign(server.data, "access-soon", (("central", 5), ("west", 0)), **soon)
    opened(server, api, "access-several", (("central", 500), ("west", 500)), per_person=9)
    create_campaign(server.data, "access-gone", (("central", 0),))
    eventually("all are known", lambda: api.phase("access-gone") and api.phase("access-soon"))
    return {
        "open": masks,
        "large": pharmacies,
        "scheduled": "access-soon",
        "several": "access-several",
        "gone": "access-gone",
    }


def violations(page: Page, axe_source: str) -> list[str]:
    page.evaluate(axe_source)
    found: dict[str, Any] = page.evaluate("rules => axe.run({ runOnly: rules })", RULES)
    assert len(found["passes"]) > 10
    return [
        f"{rule['id']}: {node['html']} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def crowded_targets(page: Page) -> list[str]:
    """Controls smaller than a fingertip, or running out of the screen."""
    small: list[str] = page.evaluate(
        """least => [...document.querySelectorAll("button, label.pool, nav a, footer a, summary, [type=search]")]
          .filter(one => one.offsetParent && (one.offsetHeight < least || one.offsetWidth < least))
          .map(one => `${one.outerHTML} ${one.offsetWidth}x${one.offsetHeight}`)""",
        TARGET_MIN,
    )
    return small


def reserve(page: Page) -> None:
    page.get_by_role("radio").first.check()
    page.locator("#claim button").click()
    expect(page.locator("#code")).not_to_be_empty()


def refused(page: Page) -> None:
    Claims(page, [refusal("sold_out", 409)])
    page.get_by_role("radio").first.check()
    page.locator("#claim button").click()
    expect(page.get_by_role("alert")).to_be_visible()


def searched(page: Page) -> None:
    page.get_by_role("searchbox").fill("花蓮")
    expect(page.get_by_role("radio")).not_to_have_count(0)
    page.get_by_role("radio").first.check()


def mine(page: Page) -> None:
    reserve(page)
    page.goto(page.url.replace("?", "/mine?"))
    page.locator("summary").first.click()


def counting(page: Page) -> None:
    expect(page.get_by_role("timer")).to_be_visible()


def nothing(page: Page) -> None:
    expect(page.locator("h1")).to_be_visible()


SCENES: dict[str, tuple[str, Scene]] = {
    "scheduled": ("scheduled", counting),
    "open": ("open", nothing),
    "refused": ("open", refused),
    "reserved": ("several", reserve),
    "mine": ("several", mine),
    "searched": ("large", searched),
    "gone": ("gone", nothing),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(("scheme", "language", "width"), [("light", "en", 1200), ("dark", "zh", 320)])
def test_nothing_stands_in_anybodys_way(
    visitor: Visitor, places: dict[str, str], axe_source: str, scene: str, scheme: str, language: str, width: int
) -> None:
    place, act = SCENES[scene]
    viewport = {"width": width, "height": 700}
    page = visitor(f"/c/{places[place]}?lang={language}", color_scheme=scheme, viewport=viewport)
    act(page)
    assert violations(page, axe_source) == []
    assert crowded_targets(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_error_page_is_held_to_the_same(visitor: Visitor, axe_source: str) -> None:
    page = visitor("/c/nothing-here")
    assert violations(page, axe_source) == []


def test_what_axe_would_find_is_found(visitor: Visitor, masks: str, axe_source: str) -> None:
    page = visitor(f"/c/{masks}")
    page.evaluate("document.documentElement.lang = ''; document.querySelector('h1').innerHTML = '<img src=/favicon>'")
    found = " ".join(violations(page, axe_source))
    assert "html-has-lang" in found
    assert "image-alt" in found


def test_text_may_be_twice_as_large(visitor: Visitor, places: dict[str, str]) -> None:
    page = visitor(f"/c/{places['scheduled']}", viewport={"width": 640, "height": 900})
    counting(page)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 640


def test_a_focused_row_is_never_under_the_button(visitor: Visitor, pharmacies: str) -> None:
    page = visitor(f"/c/{pharmacies}", viewport={"width": 360, "height": 560})
    page.get_by_role("searchbox").fill("藥局")
    expect(page.get_by_role("radio")).to_have_count(30)
    page.get_by_role("radio").first.check()
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    row = page.locator("label.pool", has=page.locator(":checked")).bounding_box()
    button = page.get_by_role("button", name="Reserve").bounding_box()
    assert row
    assert button
    assert row["y"] + row["height"] <= button["y"] + 1


def test_the_way_through_the_page_begins_with_a_skip_link(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("place", ["scheduled", "open", "large"])
def test_a_first_visit_is_light_over_the_wire(visitor: Visitor, places: dict[str, str], place: str) -> None:
    page = visitor("about:blank")
    sizes: list[float] = []
    devtools = page.context.new_cdp_session(page)
    devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    devtools.send("Network.enable")
    page.goto(f"/c/{places[place]}", wait_until="networkidle")
    # Headers count too.
    assert len(sizes) >= 5
    assert sum(sizes) < FIRST_VISIT_MAX
