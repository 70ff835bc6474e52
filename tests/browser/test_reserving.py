from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from headgate.domain.outcome import Outcome
from tests.acceptance.client import Api, confirmed
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, eventually, opened
from tests.browser.states import CODE, IN_A_HURRY, LOST, Claims, Stage, Visitor, happens, refusal, requests_to, reserve

# A device whose clock is three hours ahead would open too early, and one that it misleads shows wrong times.
AHEAD = """
  const Real = Date, ahead = 3 * 3600 * 1000;
  Date = class extends Real {
    constructor(...parts) { parts.length ? super(...parts) : super(Real.now() + ahead); }
    static now() { return Real.now() + ahead; }
  };
"""


def timer(text: str) -> re.Pattern[str]:
    return re.compile(r"^00\s+" + text.replace(" ", r"\s+") + "$")


def code_of(page: Page) -> str:
    expect(page.locator("#code")).to_have_text(CODE)
    return page.locator("#code").inner_text()


def held(server: Server, slug: str) -> list[str]:
    return [claim.pool for claim in Ledger(server.data).claims(slug)]


def test_a_choice_and_a_press_give_a_code(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}")
    reserve(page, "Shop west")
    code = code_of(page)
    expect(page.locator("#result")).to_be_in_viewport()
    expect(page.locator("#outcome")).to_be_focused()
    expect(page.locator("#place")).to_have_text("Shop west")
    expect(page.get_by_role("button", name="Reserve")).to_have_count(0)
    page.get_by_role("link", name="My reservations").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("My reservations")
    expect(page.locator("strong")).to_have_text(code)
    page.get_by_text("Cancel this reservation").click()
    page.get_by_role("button", name="Yes, cancel it").click()
    expect(page.locator("section .cancelled")).to_have_text("Cancelled")
    expect(page.locator("strong")).to_have_count(0)


def test_it_opens_by_itself_and_by_the_servers_clock(visitor: Visitor, masks: str) -> None:
    page = visitor("/livez", scripts=(AHEAD,))
    stage = Stage(page, masks, phase="scheduled", opens_in_s=8, closes_in_s=3600)
    page.goto(f"/c/{masks}")
    expect(page.get_by_role("timer")).to_have_text(timer("hours 00 min 08 sec"), use_inner_text=True)
    expect(page.get_by_role("button", name="Reserve")).to_be_hidden()
    page.get_by_role("radio", name="Shop east").check()
    page.evaluate("window.stayed = true")
    stage.passes(7)
    expect(page.get_by_role("timer")).to_have_text(timer("hours 00 min 01 sec"), use_inner_text=True)
    expect(page.get_by_role("button", name="Reserve")).to_be_hidden()
    stage.passes(1)
    expect(page.get_by_role("button", name="Reserve")).to_be_visible()
    expect(page.get_by_role("timer")).to_be_hidden()
    expect(page.locator("#live")).to_have_text("Open now")
    page.get_by_role("button", name="Reserve").click()
    code_of(page)
    assert page.evaluate("window.stayed")


def test_a_far_opening_is_counted_in_days(visitor: Visitor, masks: str) -> None:
    page = visitor("/livez", scripts=(AHEAD,), locale="zh-CN")
    Stage(page, masks, phase="scheduled", opens_in_s=2 * 86400 + 3 * 3600 + 4 * 60 + 5, closes_in_s=1e6)
    page.goto(f"/c/{masks}")
    expect(page.get_by_role("timer")).to_have_text("02 天03 时04 分05 秒")
    expect(page.get_by_role("button", name="立即预约")).to_be_hidden()


def test_a_double_click_takes_one(visitor: Visitor, server: Server, api: Api, slug: str) -> None:
    opened(server, api, slug, (("central", 50),), per_person=5)
    page = visitor(f"/c/{slug}")
    claims = Claims(page)
    page.get_by_role("button", name="Reserve").dblclick()
    code_of(page)
    assert len(claims.keys) == 1
    page.get_by_role("radio").check()
    page.get_by_role("button", name="Reserve another").click()
    eventually("the second is recorded", lambda: len(held(server, slug)) == 2)
    assert len(set(claims.keys)) == 2


def test_a_busy_server_is_asked_again_with_the_same_key(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}", scripts=(IN_A_HURRY,))
    busy = [refusal("overloaded", 503, retry_after_s=3), refusal("rate_limited", 429, retry_after_s=7)]
    claims = Claims(page, busy)
    reserve(page, "Shop east")
    code_of(page)
    assert len(claims.keys) == 3
    assert len(set(claims.keys)) == 1
    assert claims.keys[0]


def test_waiting_is_told_with_its_length(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}")
    Claims(page, [refusal("overloaded", 503, retry_after_s=20)])
    reserve(page, "Shop east")
    expect(page.locator("#progress")).to_have_text(re.compile(r"We try again for you in (2\d|30) s"))
    expect(page.get_by_role("button", name="Reserve")).to_have_attribute("aria-disabled", "true")


def test_tries_end(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}", scripts=(IN_A_HURRY,))
    claims = Claims(page, [refusal("overloaded", 503, retry_after_s=1)] * 50)
    reserve(page, "Shop east")
    expect(page.get_by_role("alert")).to_contain_text("Very many people are here")
    assert len(claims.keys) == 6
    # Nothing is certain yet, so that pressing again still means the same request.
    page.get_by_role("button", name="Reserve").click()
    happens(page, "tried again", lambda: len(claims.keys) > 6)
    assert len(set(claims.keys)) == 1


def test_a_long_wait_is_left_to_the_person(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}")
    claims = Claims(page, [refusal("rate_limited", 429, retry_after_s=600)])
    reserve(page, "Shop east")
    expect(page.get_by_role("alert")).to_contain_text("Too many requests came from your network")
    assert len(claims.keys) == 1


@pytest.mark.parametrize("per_person", [1, 3])
def test_a_lost_answer_is_looked_up_not_repeated(
    visitor: Visitor, server: Server, api: Api, slug: str, per_person: int
) -> None:
    opened(server, api, slug, (("central", 50), ("west", 50)), per_person=per_person)
    page = visitor(f"/c/{slug}", scripts=(IN_A_HURRY,))
    claims = Claims(page, [LOST])
    looked = requests_to(page, "/claims/mine")
    reserve(page, "Shop west")
    code_of(page)
    assert len(looked) == 1
    assert len(claims.keys) == 1
    assert held(server, slug) == ["west"]


def test_doubt_survives_a_reload(visitor: Visitor, server: Server, api: Api, slug: str) -> None:
    opened(server, api, slug, (("central", 50), ("west", 50)), per_person=3)
    page = visitor(f"/c/{slug}")
    claims = Claims(page, [LOST])
    page.route("**/claims/mine", lambda route: route.abort("connectionreset"))
    reserve(page, "Shop west")
    expect(page.locator("#progress")).to_have_text("We are making sure what became of your request …")
    page.unroute("**/claims/mine")
    page.reload()
    reserve(page, "Shop west")
    code_of(page)
    assert len(set(claims.keys)) == 1
    assert held(server, slug) == ["west"]


def test_doubt_about_one_place_is_settled_before_another_is_taken(
    visitor: Visitor, server: Server, api: Api, slug: str
) -> None:
    opened(server, api, slug, (("central", 50), ("west", 50)), per_person=3)
    page = visitor(f"/c/{slug}", scripts=(IN_A_HURRY,))
    Claims(page, [LOST, *[refusal("unknown", 503, retry_after_s=1)] * 5])
    page.route("**/claims/mine", lambda route: route.abort("connectionreset"))
    reserve(page, "Shop west")
    expect(page.get_by_role("alert")).to_contain_text("It is not certain")
    page.unroute("**/claims/mine")
    reserve(page, "Shop central")
    expect(page.locator("#place")).to_have_text("Shop west")
    assert held(server, slug) == ["west"]


def test_an_early_press_is_repeated_not_refused(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}", scripts=(IN_A_HURRY,))
    claims = Claims(page, [refusal("not_open", 409)])
    reserve(page, "Shop east")
    code_of(page)
    assert len(claims.keys) == 2


WORDS = """name => document.getElementById("texts").content.querySelector(`[data-text="${name}"]`).textContent"""
REFUSED = [name for name in Outcome if name not in (Outcome.CONFIRMED, Outcome.CANCELLED, Outcome.PENDING)]


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_every_refusal_is_told(visitor: Visitor, masks: str, locale: str) -> None:
    page = visitor(f"/c/{masks}", scripts=(IN_A_HURRY,), locale=locale)
    answers = {outcome: refusal(outcome, 409, reason="no_words_for_this") for outcome in REFUSED}
    told = set()
    for outcome, answer in answers.items():
        Claims(page, [answer] * 6)
        page.get_by_role("radio").first.check()
        page.locator("#claim button").click()
        words = page.evaluate(WORDS, f"refusal.{outcome}")
        expect(page.get_by_role("alert")).to_have_text(words)
        expect(page.locator("#claim button")).not_to_have_attribute("aria-disabled", "true")
        told.add(words)
    assert len(told) == len(REFUSED)


def test_an_answer_that_nobody_knows_is_told_too(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}")
    Claims(page, [{"status": 418, "body": "<h1>teapot</h1>"}])
    reserve(page, "Shop east")
    expect(page.get_by_role("alert")).to_contain_text("Something went wrong on our side")


def test_the_last_unit_gone_is_told_and_another_place_can_be_taken(
    visitor: Visitor, server: Server, api: Api, slug: str
) -> None:
    opened(server, api, slug, (("central", 1), ("west", 5)))
    page = visitor(f"/c/{slug}")
    page.get_by_role("radio", name="Shop central").check()
    page.route(f"**/api/v1/campaigns/{slug}", lambda route: route.abort())
    confirmed(api.claim(slug, api.session(), "central"))
    page.get_by_role("button", name="Reserve").click()
    expect(page.get_by_role("alert")).to_have_text("There is none left of this one. Please choose another.")
    reserve(page, "Shop west")
    code_of(page)


def test_a_browser_without_cookies_is_told_what_is_wrong(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}")
    page.route("**/api/v1/sessions", lambda route: route.fulfill(status=201, body="{}"))
    sessions = requests_to(page, "/sessions")
    reserve(page, "Shop east")
    expect(page.get_by_role("alert")).to_contain_text("did not keep our cookie")
    assert len(sessions) == 2


def test_who_has_one_already_is_shown_it(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}")
    looked = requests_to(page, "/claims/mine")
    reserve(page, "Shop west")
    code = code_of(page)
    assert looked == []
    page.goto(f"/c/{masks}")
    expect(page.locator("#held")).to_contain_text("You have a reservation here.")
    assert len(looked) == 1
    reserve(page, "Shop east")
    expect(page.get_by_role("alert")).to_have_text("You already have everything that one person may reserve.")
    reserve(page, "Shop west")
    expect(page.locator("#outcome")).to_have_text("You have a reservation")
    expect(page.locator("#place")).to_have_text("Shop west")
    expect(page.locator("#code")).to_have_text(code)


def test_nothing_chosen_sends_nothing(visitor: Visitor, masks: str) -> None:
    page = visitor(f"/c/{masks}")
    claims = Claims(page)
    page.get_by_role("button", name="Reserve").click()
    assert page.locator("input:invalid").count() == 3
    assert claims.keys == []
