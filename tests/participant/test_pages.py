from __future__ import annotations

import pytest

from headgate.domain.campaign import Phase
from headgate.domain.claim import Claim, Status
from headgate.domain.outcome import LIMIT_REACHED, SOLD_OUT, UNKNOWN_CAMPAIGN, Outcome, Refusal
from headgate.domain.public import PoolView
from headgate.participant.pages import REFRESH_S, Pages, build_assets
from headgate.participant.pages_text import texts
from headgate.ports.queue import QueueState
from tests.markup import Page
from tests.participant.pages_samples import CENTRAL, NORTH, pharmacy_pools, sample_claim, sample_view
from tests.shared_data import naughty_strings

LANGUAGES = ("en", "zh")
REFUSING = sorted(set(Outcome) - {Outcome.CONFIRMED, Outcome.CANCELLED, Outcome.PENDING})


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(build_assets(tmp_path_factory.mktemp("assets")))


@pytest.fixture(scope="module")
def pharmacies() -> list[PoolView]:
    return pharmacy_pools()


def many(count: int) -> list[PoolView]:
    return [PoolView(f"p{number}", {"en": f"Place {number}"}, "available") for number in range(count)]


def every_page(pages: Pages, language: str) -> list[bytes]:
    campaign = [pages.campaign(sample_view(phase=phase), language=language) for phase in Phase]
    searched = pages.campaign(sample_view(many(31)), language=language, query="3", matches=many(4))
    claims = [sample_claim(status, number=number) for number, status in enumerate(Status, 1)]
    own = [
        pages.claims(sample_view(per_person=9), held, language=language, form_key="k", notice="cancelled")
        for held in (claims, [])
    ]
    own += [
        pages.claims(sample_view(), [], language=language, form_key="", state=state)
        for state in (QueueState(True), QueueState(False, "sold_out"))
    ]
    message = pages.message(language=language, status=404, refusal=UNKNOWN_CAMPAIGN)
    return [*campaign, searched, *own, message]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_keeps_the_rules_of_a_strict_policy_and_of_well_formed_html(pages: Pages, language: str) -> None:
    for html in every_page(pages, language):
        page = Page(html)
        assert page.elements[0].attributes["lang"] == {"en": "en", "zh": "zh-Hans"}[language]
        assert page.one("title").text.strip()
        assert len(page.all("main")) == len(page.all("h1")) == 1
        assert page.all("style") == []
        for script in page.all("script"):
            assert script.text == ""
            assert str(script.attributes["src"]).startswith("/assets/")
        ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
        assert len(ids) == len(set(ids))
        for element in page.elements:
            assert not [name for name in element.attributes if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("phase", Phase)
def test_a_phase_shows_its_own_words_and_offers_to_reserve_only_while_open(
    pages: Pages, phase: Phase, language: str
) -> None:
    page = Page(pages.campaign(sample_view(phase=phase), language=language))
    (named,) = [element for name in Phase for element in page.shown("span", class_=name.value)]
    assert named.attributes["class"] == phase.value
    submits = [
        button for button in page.shown("button") if any(form.attributes.get("id") == "claim" for form in button.inside)
    ]
    assert len(submits) == (phase is Phase.OPEN)
    assert bool(list(page.pools())) == (phase in (Phase.SCHEDULED, Phase.OPEN, Phase.PAUSED))
    assert bool(page.shown("time")) == (phase is Phase.SCHEDULED)


def test_the_window_is_told_in_the_time_of_the_campaign(pages: Pages) -> None:
    english = Page(pages.campaign(sample_view(phase=Phase.SCHEDULED), language="en"))
    assert "Tuesday, 1 December 2026\n09:00 – 12:00 (UTC+8)" in english.one("p", class_="window").text
    assert english.one("time").text == "Tuesday, 1 December 2026, 09:00 (UTC+8)"
    chinese = Page(pages.campaign(sample_view(phase=Phase.SCHEDULED), language="zh"))
    assert chinese.one("time").text == "2026年12月1日星期二 09:00 (UTC+8)"
    longer = Page(pages.campaign(sample_view(closes_at="2026-12-02T04:30:00+00:00"), language="en"))
    assert "Wednesday, 2 December 2026, 12:30 (UTC+8)" in longer.one("p", class_="window").text


def test_a_pool_that_is_gone_says_so_in_words_and_cannot_be_chosen(pages: Pages) -> None:
    page = Page(pages.campaign(sample_view(), language="en"))
    central, north = page.pools()
    assert "disabled" not in central.attributes
    assert "disabled" in north.attributes
    assert [words.text for words in page.shown("em")] == ["none left"]


def test_the_only_pool_is_chosen_already(pages: Pages) -> None:
    (only,) = Page(pages.campaign(sample_view([CENTRAL]), language="en")).pools()
    assert "checked" in only.attributes
    (gone,) = Page(pages.campaign(sample_view([NORTH]), language="en")).pools()
    assert "checked" not in gone.attributes


def test_words_in_another_language_are_marked_as_such(pages: Pages) -> None:
    pools = [PoolView("a", {"zh": "中心药房"}, "available"), PoolView("b", {}, "available"), CENTRAL]
    page = Page(pages.campaign(sample_view(pools, title={"zh": "免费口罩"}), language="en"))
    assert [(words.text, words.attributes.get("lang")) for words in page.shown("bdi")] == [
        ("免费口罩", "zh"),
        ("中心药房", "zh"),
        ("b", None),
        ("Central pharmacy", None),
    ]


def test_up_to_thirty_pools_are_listed_and_more_are_searched(pages: Pages) -> None:
    listed = Page(pages.campaign(sample_view(many(30)), language="en"))
    assert len(list(listed.pools())) == 30
    assert listed.all("input", type="search") == []
    searched = Page(pages.campaign(sample_view(many(31)), language="en"))
    assert list(searched.pools()) == []
    assert searched.one("form", id="search").attributes["method"] == "get"
    assert searched.one("p", id="found").text == "31 to choose from"
    assert searched.one("label", for_="q").text


def test_what_a_search_found_can_be_chosen_without_a_script(pages: Pages) -> None:
    view = sample_view(many(100))
    few = Page(pages.campaign(view, language="en", query="1", matches=many(7)))
    assert len(list(few.pools())) == 7
    assert few.one("p", id="found").text == "Found: 7"
    assert few.one("input", type="search").attributes["value"] == "1"
    assert len(few.shown("button")) == 2
    many_found = Page(pages.campaign(view, language="zh", query="1", matches=many(40)))
    assert len(list(many_found.pools())) == 30
    assert many_found.one("p", id="found").text.startswith("显示前 30 个")
    nothing = Page(pages.campaign(view, language="en", query="zzz", matches=[]))
    assert list(nothing.pools()) == []
    assert nothing.one("p", id="found").text == "Nothing found. Try fewer or other words."


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("outcome", REFUSING)
def test_a_refusal_is_told_in_words_of_its_own(pages: Pages, outcome: Outcome, language: str) -> None:
    page = Page(pages.campaign(sample_view(), language=language, refusal=Refusal(outcome, "English detail.")))
    (alert,) = page.shown("p", role="alert")
    assert alert.text == page.one("p", data_text=f"refusal.{outcome}").text
    assert alert.text != page.one("p", data_text="refusal.unexpected").text
    assert page.one("title").text != "Free masks"
    assert "English detail" not in alert.text


def test_a_reason_is_told_where_there_are_words_for_it(pages: Pages) -> None:
    def told(reason: str) -> str:
        refusal = Refusal(Outcome.INVALID, "", reason=reason)
        (alert,) = Page(pages.campaign(sample_view(), language="en", refusal=refusal)).shown("p", role="alert")
        return alert.text

    assert told("key_reused") != told("bad_form")
    assert told("bad_form") == told("too_large")


def test_the_page_without_a_refusal_shows_none(pages: Pages) -> None:
    assert Page(pages.campaign(sample_view(), language="en")).shown("p", role="alert") == []


def test_a_rehearsal_says_that_it_is_one(pages: Pages) -> None:
    assert b"This is a rehearsal" in pages.campaign(sample_view(rehearsal=True), language="en")
    assert b"This is a rehearsal" not in pages.campaign(sample_view(), language="en")


def test_the_page_is_the_same_for_everybody(pages: Pages) -> None:
    view = sample_view()
    assert pages.campaign(view, language="en") == pages.campaign(view, language="en")


@pytest.mark.parametrize("status", Status)
def test_a_claim_shows_its_code_while_it_counts_and_can_be_cancelled_while_that_is_possible(
    pages: Pages, status: Status
) -> None:
    claim = sample_claim(status)
    page = Page(pages.claims(sample_view(), [claim], language="en", form_key=""))
    live = status in (Status.HELD, Status.CONFIRMED, Status.REDEEMED)
    assert [code.text for code in page.all("strong")] == ([claim.code] if live else [])
    cancels = page.all("form", action="/c/masks/cancel?lang=en")
    assert len(cancels) == (status in (Status.HELD, Status.CONFIRMED))
    if cancels:
        assert page.one("input", name="claim").attributes["value"] == claim.id
        assert cancels[0].attributes["method"] == "post"
    assert page.one("h2").text == "Central pharmacy"
    assert "Tuesday, 1 December 2026" in page.one("section").text


def test_another_claim_is_offered_only_where_one_is_allowed(pages: Pages) -> None:
    claims = [sample_claim()]

    def keys(per_person: int, phase: Phase = Phase.OPEN) -> list[str | None]:
        view = sample_view(per_person=per_person, phase=phase)
        page = Page(pages.claims(view, claims, language="en", form_key="k-17"))
        offered = [link for link in page.all("a", href="/c/masks?lang=en") if "another" in link.text]
        found = page.all("input", name="key")
        assert len(offered) == len(found)
        return [element.attributes["value"] for element in found]

    assert keys(1) == []
    assert keys(2) == ["k-17"]
    assert keys(2, Phase.CLOSED) == []
    assert keys(2, Phase.SOLD_OUT) == []


def test_who_holds_nothing_is_told_so(pages: Pages) -> None:
    page = Page(pages.claims(sample_view(), [], language="zh", form_key="k"))
    assert "本浏览器中没有预约。" in page.one("main").text
    assert page.all("form") == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_waits_is_told_so_by_a_page_that_looks_again_by_itself(pages: Pages, language: str) -> None:
    def page(state: QueueState | None, *held: Claim) -> tuple[Page, bytes]:
        html = pages.claims(sample_view(per_person=2), held, language=language, form_key="k", state=state)
        return Page(html), html

    refresh = f'<noscript><meta http-equiv="refresh" content="{REFRESH_S}"></noscript>'.encode()
    for held in ((), (sample_claim(),)):
        waiting, html = page(QueueState(True), *held)
        assert html.count(b"http-equiv") == html.count(refresh) == 1, "a script looks more gently where there is one"
        (link,) = waiting.all("a", href=f"/c/masks/mine?notice=pending&lang={language}")
        assert link.text
        assert len(waiting.all("script")) == 1
        assert waiting.one("main").attributes["data-slug"] == "masks"
        assert len(waiting.all("strong")) == len(held), "a claim is shown, whatever else they wait for"
        assert waiting.all("input", name="key") == [], "one after the other"
    assert page(QueueState(None), sample_claim())[1].count(refresh) == 1
    for state in (None, QueueState(False), QueueState(False, "sold_out")):
        decided, html = page(state, sample_claim())
        assert b"http-equiv" not in html
        assert decided.all("script") == []
        assert len(decided.all("input", name="key")) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_waited_and_was_refused_is_told_why(pages: Pages, language: str) -> None:
    def told(state: QueueState) -> str:
        (alert,) = Page(
            pages.claims(sample_view(), [], language=language, form_key="", state=state)
        ).shown("p", role="alert")  # fmt: skip
        return alert.text

    assert told(QueueState(False, "sold_out")) == texts(language)["refusal.sold_out"]
    assert told(QueueState(False, "invalid", "key_reused")) == texts(language)["refusal.invalid.key_reused"]
    assert told(QueueState(False, "of_a_newer_program")) == texts(language)["refusal.unexpected"]


def test_a_message_has_a_heading_for_its_kind(pages: Pages) -> None:
    def heading(status: int, refusal: Refusal) -> str:
        return Page(pages.message(language="en", status=status, refusal=refusal)).one("h1").text

    assert heading(404, UNKNOWN_CAMPAIGN) == "Nothing is here"
    assert heading(503, Refusal(Outcome.OVERLOADED, "", retry_after_s=1)) == "Please try again soon"
    assert heading(409, SOLD_OUT) == heading(409, LIMIT_REACHED) == "This did not work"


def test_hostile_words_stay_words(pages: Pages) -> None:
    calm = Page(pages.campaign(sample_view([CENTRAL]), language="en", query="q"))
    calm_search = Page(pages.campaign(sample_view(many(31)), language="en", query="q", matches=[CENTRAL]))
    calm_claims = Page(pages.claims(sample_view([CENTRAL]), [sample_claim()], language="en", form_key=""))
    for hostile in naughty_strings():
        pool = PoolView("central", {"en": hostile}, "available")
        title = {"en": hostile}
        page = Page(pages.campaign(sample_view([pool], title=title), language="en", query=hostile))
        assert page.tags == calm.tags
        assert [words.text for words in page.shown("bdi")] == [told(hostile)] * 2
        search = Page(pages.campaign(sample_view(many(31), title=title), language="en", query=hostile, matches=[pool]))
        assert search.tags == calm_search.tags
        assert search.one("input", id="q").attributes["value"] == told(hostile)
        own = Page(pages.claims(sample_view([pool], title=title), [sample_claim()], language="en", form_key=""))
        assert own.tags == calm_claims.tags


def told(text: str) -> str:
    """What a parser reads back: lone surrogates can't be written."""
    return text.encode("utf-8", "replace").decode()


def test_a_lone_surrogate_does_not_take_the_page_down(pages: Pages) -> None:
    pool = PoolView("a", {"en": "half \ud83d a sign"}, "available")
    assert b"half ? a sign" in pages.campaign(sample_view([pool]), language="en")


def test_thousands_of_real_pharmacies_make_no_heavy_page(pages: Pages, pharmacies: list[PoolView]) -> None:
    assert len(pharmacies) == 6588
    view = sample_view(pharmacies)
    page = pages.campaign(view, language="zh")
    assert len(page) < 12_000
    found = [pool for pool in pharmacies if "花蓮" in pool.label["zh"]]
    searched = Page(pages.campaign(view, language="en", query="花蓮", matches=found))
    assert [row.attributes["value"] for row in searched.pools()] == [pool.id for pool in found[:30]]
    # Names repeat among thousands, so that a long list tells each number too.
    assert [number.text for number in searched.shown("small")] == [pool.id for pool in found[:30]]
