"""The participant page without JavaScript: forms and links alone lead to a claim, and show it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode

import httpx2

from tests.acceptance.client import Api, confirmed, describe
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, create_campaign, eventually, in_s, opened
from tests.markup import Element, Page


@dataclass
class Form:
    """A form as a browser would submit it: `chosen` are its pre-filled values, `choices` what a person may pick."""

    method: str
    action: str
    chosen: dict[str, str] = field(default_factory=dict)
    choices: list[tuple[str, str]] = field(default_factory=list)

    def filled(self, wish: str) -> dict[str, str]:
        picked = [(name, value) for name, value in self.choices if value == wish] or self.choices[:1]
        return self.chosen | dict(picked)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("method", "get").lower(), given.get("action", "")))
        elif self.forms and "disabled" not in given:
            self._control(tag, given)

    def _control(self, tag: str, given: dict[str, str]) -> None:
        form, name, value = self.forms[-1], given.get("name", ""), given.get("value", "")
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select and value:
            form.choices.append((self._select, value))
        elif name and (tag == "button" or given.get("type") in ("radio", "submit")):
            form.choices.append((name, value))
        elif name and tag == "input":
            form.chosen[name] = value


def forms(page: httpx2.Response) -> list[Form]:
    parser = _Forms()
    parser.feed(page.text)
    return [form for form in parser.forms if form.method == "post"]


def links(page: httpx2.Response) -> list[str]:
    return re.findall(r'<a [^>]*href="([^"#]*)"', page.text)


def browser(server: Server) -> httpx2.Client:
    """A browser without JavaScript: it keeps cookies, follows redirects and says where a request comes from."""
    headers = {"Accept": "text/html", "Accept-Language": "en", "Sec-Fetch-Site": "same-origin", "Origin": server.url}
    return httpx2.Client(base_url=server.url, headers=headers, follow_redirects=True, timeout=20, trust_env=False)


def submit(http: httpx2.Client, page: httpx2.Response, wish: str) -> httpx2.Response:
    """Submit the form that offers `wish`, else the first one."""
    found = forms(page)
    assert found, f"no form to post on {page.url}\n{page.text[:3000]}"
    form = next((f for f in found if any(value == wish for _, value in f.choices)), found[0])
    return http.post(
        page.url.join(form.action) if form.action else page.url,
        content=urlencode(form.filled(wish)).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )


def test_forms_alone_lead_to_a_claim_that_is_shown(server: Server, api: Api) -> None:
    slug, ledger = opened(server, api, "no-script", (("east", 3), ("west", 3))), Ledger(server.data)
    with browser(server) as http:
        page = http.get(f"/c/{slug}")
        assert page.status_code == 200, describe(page)
        for _ in range(4):
            if ledger.confirmed(slug):
                break
            page = submit(http, page, "west")
            assert page.status_code < 400, describe(page)
            assert page.headers["content-type"].startswith("text/html"), describe(page)
        rows = list(ledger.confirmed(slug).values())
        assert [row.pool for row in rows] == ["west"], f"{rows}\n{page.text[:3000]}"
        mine = api.mine(slug, http.cookies["hg_session"])
        assert [claim["id"] for claim in mine] == [rows[0].id]
        assert mine[0]["code"] in page.text, f"the page does not show the code {mine[0]['code']}\n{page.text[:3000]}"
        assert "no-store" in page.headers.get("cache-control", ""), describe(page)
        again = http.get(f"/c/{slug}")
        reachable = again.text + "".join(http.get(link).text for link in links(again) if link.startswith("/c/"))
        assert mine[0]["code"] in reachable, "whoever comes back to the page cannot find the claim"
        if forms(again):
            submit(http, again, "east")
    assert ledger.check(slug)["east"].taken == 0


def words_of_phase(page: Page) -> list[str]:
    return [words.text for phase in page.all("p", class_="phase") for words in page.elements if _inside(words, phase)]


def _inside(words: Element, phase: Element) -> bool:
    return words.tag == "span" and phase in words.inside and not words.hidden


def alerts(page: Page) -> list[str]:
    return [alert.text for alert in page.shown("p", role="alert")]


def reserve_buttons(page: Page) -> list[Element]:
    return [
        button
        for button in page.shown("button")
        if any(around.tag == "form" and around.attributes.get("method") == "post" for around in button.inside)
    ]


def test_without_script_a_sold_out_campaign_says_so(server: Server, api: Api) -> None:
    slug = opened(server, api, "no-script-empty", (("east", 1),))
    with browser(server) as http:
        before = http.get(f"/c/{slug}")
        assert reserve_buttons(Page(before.content)), describe(before)
        confirmed(api.claim(slug, api.session(), "east"))
        late = submit(http, before, "east")
        assert late.status_code == 409, describe(late)
        assert late.headers["content-type"].startswith("text/html"), f"a machine's answer\n{describe(late)}"
        assert alerts(Page(late.content)) == ["There is none left of this one. Please choose another."]

        def all_gone() -> Page | None:
            page = Page(http.get(f"/c/{slug}").content)
            return page if words_of_phase(page) == ["All gone"] else None

        after = eventually("the page says that all is gone", all_gone)
        assert reserve_buttons(after) == []
    assert Ledger(server.data).check(slug)["east"].taken == 1


def test_a_page_before_opening_shows_pools_and_takes_no_claim(server: Server, api: Api) -> None:
    slug = create_campaign(server.data, "no-script-early", opens_at=in_s(86_400), closes_at=in_s(90_000))
    eventually("the campaign is known", lambda: api.phase(slug) == "scheduled")
    with browser(server) as http:
        answer = http.get(f"/c/{slug}")
        assert answer.status_code == 200, describe(answer)
        page = Page(answer.content)
        assert words_of_phase(page) == ["Not open yet"]
        assert len(page.shown("time")) == 1, "the page does not say when it opens"
        assert [pool.attributes["value"] for pool in page.shown("input", type="radio")] == ["central"]
        assert reserve_buttons(page) == []
        early = submit(http, answer, "central")
        assert early.status_code == 409, describe(early)
        assert alerts(Page(early.content)) == [page.one("p", data_text="refusal.not_open").text]
    assert Ledger(server.data).claims(slug) == []


def test_a_form_of_another_site_is_refused(server: Server, api: Api) -> None:
    slug = opened(server, api, "no-script-foreign", (("east", 3),))
    with browser(server) as http:
        page = http.get(f"/c/{slug}")
        http.post("/api/v1/sessions").raise_for_status()
        http.headers |= {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        answer = submit(http, page, "east")
        assert answer.status_code == 403, describe(answer)
        assert Page(page.content).one("p", data_text="refusal.refused").text in Page(answer.content).one("main").text
        assert "set-cookie" not in answer.headers, "another site's form replaced the session"
    assert Ledger(server.data).claims(slug) == []
