"""What an open page does while time passes, without anybody touching it."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.acceptance.client import Api, confirmed
from tests.acceptance.product import Server, create_campaign, eventually, in_s, opened, run_cli
from tests.browser.states import EVEN_CHANCE, IN_A_HURRY, Stage, Visitor, happens, refusal, requests_to

SCRIPTS = (IN_A_HURRY, EVEN_CHANCE)
HIDEABLE = "window.away = false; Object.defineProperty(document, 'hidden', { get: () => window.away });"
TURNED = "away => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }"
WITHIN_S = 30.0


def waits(page: Page) -> list[float]:
    """Every wait between two questions so far (ms); the page's other timer ends with its hour."""
    asked: list[float] = page.evaluate("waits.filter(ms => ms < 3e6)")
    return asked


def until(page: Page, expression: str) -> None:
    """Waits for an expression to hold; the page's policy forbids what `wait_for_function` does."""
    eventually(expression, lambda: page.evaluate(expression), within_s=WITHIN_S)


def test_it_asks_at_the_servers_pace_with_jitter(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}", scripts=SCRIPTS)
    until(page, "waits.filter(ms => ms < 3e6).length >= 3")
    # Two seconds, as the server says, and half of the half that chance may add.
    assert waits(page)[:3] == [2500] * 3


def test_it_backs_off_from_a_server_in_trouble_and_comes_back(visitor: Visitor, masks: str) -> None:
    page = visitor("/livez", scripts=SCRIPTS)
    page.route(f"**/api/v1/campaigns/{masks}", lambda route: route.fulfill(status=502, body="bad gateway"))
    page.goto(f"/c/{masks}")
    until(page, "waits.length >= 4")
    page.unroute(f"**/api/v1/campaigns/{masks}")
    until(page, "waits.filter(ms => ms < 3e6).length >= 6")
    asked = waits(page)
    assert asked[:4] == [2500, 5000, 10_000, 20_000]
    assert asked[-1] == 2500


def test_it_waits_as_long_as_it_is_told_to(visitor: Visitor, masks: str) -> None:
    page = visitor("/livez", scripts=SCRIPTS)
    busy = refusal("rate_limited", 429, retry_after_s=40)
    page.route(f"**/api/v1/campaigns/{masks}", lambda route: route.fulfill(**busy))
    page.goto(f"/c/{masks}")
    until(page, "waits.length >= 1")
    assert waits(page)[0] == 50_000


def test_it_asks_nothing_while_nobody_looks(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}", scripts=(*SCRIPTS, HIDEABLE))
    until(page, "waits.filter(ms => ms < 3e6).length >= 2")
    page.evaluate(TURNED, True)
    # An answer that was under way may set one more timer, which then asks nothing.
    until(page, "[...pending.values()].every(ms => ms > 3e6)")
    asked = requests_to(page, masks)
    # Eight times as long as it waited before.
    page.evaluate("new Promise(done => setTimeout(done, 20_000))")
    assert asked == []
    page.evaluate(TURNED, False)
    happens(page, "asked at once", lambda: asked)


def test_a_tab_that_opens_in_the_background_asks_nothing(visitor: Visitor, masks: str) -> None:
    page = visitor("/livez", scripts=(*SCRIPTS, HIDEABLE.replace("false", "true")))
    asked = requests_to(page, f"/api/v1/campaigns/{masks}")
    page.goto(f"/c/{masks}", wait_until="networkidle")
    assert asked == []
    assert page.evaluate("pending.size") == 0


def test_it_follows_the_campaign_through_its_phases(visitor: Visitor, server: Server, api: Api, slug: str) -> None:
    opened(server, api, slug, (("central", 1), ("west", 1)))
    page = visitor(f"/c/{slug}", scripts=(IN_A_HURRY,))
    button = page.get_by_role("button", name="Reserve")
    page.get_by_role("radio", name="Shop central").check()
    claim = confirmed(api.claim(slug, api.session(), "central"))
    expect(page.get_by_role("radio", name="Shop central")).to_be_disabled()
    expect(page.get_by_role("radio", name="Shop central")).not_to_be_checked()
    expect(page.locator("label", has_text="Shop central")).to_contain_text("none left")
    expect(page.locator("#live")).to_have_text("What you chose is gone. Please choose another.")
    run_cli("campaign", "pause", slug, data=server.data).ok()
    expect(button).to_be_hidden()
    expect(page.locator("#live")).to_have_text(
        "Paused. Reservations are paused. Nothing is lost: they go on here, on this page."
    )
    run_cli("campaign", "resume", slug, data=server.data).ok()
    expect(button).to_be_visible()
    run_cli("campaign", "close", slug, data=server.data).ok()
    expect(page.locator(".phase .closed")).to_be_visible()
    expect(page.locator("#claim")).to_be_hidden()
    assert claim["pool"] == "central"
    until(page, "pending.size === 0")


def test_stock_that_returns_can_be_taken_without_a_reload(
    visitor: Visitor, server: Server, api: Api, slug: str
) -> None:
    opened(server, api, slug, (("central", 1),))
    holder = api.session()
    claim = confirmed(api.claim(slug, holder, "central"))
    page = visitor(f"/c/{slug}", scripts=(IN_A_HURRY,))
    expect(page.locator(".phase .sold_out")).to_be_visible()
    expect(page.locator("#claim")).to_be_hidden()
    api.cancel(slug, holder, claim["id"])
    page.get_by_role("radio").check()
    page.get_by_role("button", name="Reserve").click()
    expect(page.locator("#result")).to_be_visible()


def test_it_closes_by_the_servers_clock_alone(visitor: Visitor, masks: str) -> None:
    page = visitor("/livez", scripts=(IN_A_HURRY,))
    stage = Stage(page, masks, phase="open", opens_in_s=-60, closes_in_s=30)
    page.goto(f"/c/{masks}")
    expect(page.get_by_role("button", name="Reserve")).to_be_visible()
    stage.passes(29)
    page.wait_for_event("requestfinished")
    expect(page.get_by_role("button", name="Reserve")).to_be_visible()
    stage.passes(1)
    expect(page.get_by_role("button", name="Reserve")).to_be_hidden()
    expect(page.locator("#live")).to_have_text("Closed. Reservations have ended.")


def test_the_last_minute_is_announced_once(visitor: Visitor, masks: str) -> None:
    page = visitor("/livez", scripts=(IN_A_HURRY,))
    page.add_init_script("""
      window.told = [];
      new MutationObserver(changes => changes.filter(change => change.target.id === "live")
        .forEach(change => change.addedNodes.forEach(node => told.push(node.textContent))))
        .observe(document, { childList: true, subtree: true });
    """)
    stage = Stage(page, masks, phase="scheduled", opens_in_s=70, closes_in_s=3600)
    page.goto(f"/c/{masks}")
    for seconds, shown in ((0, "01 min 10 sec"), (11, "00 min 59 sec"), (1, "00 min 58 sec"), (5, "00 min 53 sec")):
        stage.passes(seconds)
        pattern = re.compile(shown.replace(" ", r"\s+"))
        expect(page.get_by_role("timer")).to_have_text(pattern, use_inner_text=True)
    # The page came as that of an open campaign, so that its first state was news too.
    assert page.evaluate("told") == ["Not open yet", "It opens in one minute."]
    assert page.get_by_role("timer").get_attribute("aria-live") == "off"


def test_clock_answers_from_a_cache_do_not_put_it_back(visitor: Visitor, server: Server, api: Api, slug: str) -> None:
    create_campaign(server.data, slug, opens_at=in_s(3600 * 5), closes_at=in_s(3600 * 6))
    eventually("the campaign is known", lambda: api.phase(slug))
    page = visitor("/livez", scripts=(IN_A_HURRY,))
    state = api.state(slug)
    times = iter(["2026-12-01T00:00:10Z", "2026-12-01T00:00:09.200Z", "2026-12-01T00:00:09.900Z"])
    served: list[str] = []

    def stale(route: object) -> None:
        served.append(next(times, "2026-12-01T00:00:09.900Z"))
        opening = {"opens_at": "2026-12-01T01:00:00Z", "closes_at": "2026-12-01T09:00:00Z", "server_time": served[-1]}
        route.fulfill(json=state | opening | {"poll_after_ms": 10})  # type: ignore[attr-defined]

    page.route(f"**/api/v1/campaigns/{slug}", stale)
    page.goto(f"/c/{slug}")
    happens(page, "three answers", lambda: len(served) >= 4)
    # The first answer said 59:50 to go; a second later that must be less, whatever old answers say.
    first = page.get_by_role("timer").inner_text().split()
    assert first[2] == "59"
    assert int(first[4]) <= 50
