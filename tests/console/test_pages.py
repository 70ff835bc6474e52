from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient

from headgate.console.views import POOLS_SHOWN_MAX
from headgate.domain.campaign import Control, Mode
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.ports.nodes import NodeCard
from headgate.services.campaigns import Campaigns
from headgate.storage.sql.engine import open_engine, writing
from headgate.storage.sql.schema import campaign, claim, pool
from tests.console.conftest import CLOSES, OPENS, PASSWORD, Console, Ledger, console_on
from tests.markup import Page
from tests.shared_data import PHARMACY_ID, PHARMACY_LABEL, naughty_strings, pharmacy_rows

NBSP = "\u00a0"


def cells(page: Page) -> list[list[str]]:
    """Texts of the table's rows below its head, words separated by single spaces."""
    rows: list[list[str]] = []
    for element in page.elements:
        if element.tag == "tr":
            rows.append([])
        elif element.tag in {"td", "th"}:
            rows[-1].append(" ".join(element.text.replace(NBSP, " ").split()))
    return rows[1:]


def tally(page: Page) -> dict[str, str]:
    return dict(zip([name.text for name in page.all("dt")], [value.text for value in page.all("dd")], strict=True))


def test_the_list_shows_every_campaign_with_its_stock(mei: Console, ledger: Ledger) -> None:
    masks = ledger.create()
    ledger.claim(masks, "central", 3)
    ledger.create("night", {"a": 1_234_567}, {"en": "Night slots"}, closes=CLOSES + timedelta(days=1), rehearsal=True)
    page = mei.page("/")
    assert cells(page) == [
        ["Night slots night", "Open Rehearsal", "1 Dec 2026 09:00 – 2 Dec 2026 12:00 (UTC+08:00)", "1,234,567",
         "1,234,567", "0"],
        ["Free masks 免费口罩 masks", "Open", "1 Dec 2026 09:00 – 12:00 (UTC+08:00)", "7", "4", "3"],
    ]  # fmt: skip
    assert [link.attributes["href"] for link in page.all("a") if "campaigns" in (link.attributes["href"] or "")] == [
        "/campaigns/night",
        "/campaigns/masks",
    ]


def test_the_phase_follows_clock_stock_and_control(mei: Console, ledger: Ledger) -> None:
    def phase() -> str:
        return cells(mei.page("/"))[0][1]

    masks = ledger.create(pools={"central": 1})
    assert phase() == "Open"
    ledger.campaigns.control("masks", Control.PAUSED, expected=Control.ACTIVE, command="pause", actor="test")
    assert phase() == "Paused"
    ledger.campaigns.control("masks", Control.ACTIVE, expected=Control.PAUSED, command="resume", actor="test")
    ledger.claim(masks, "central")
    assert phase() == "Sold out"
    ledger.clock.forward(-120)
    assert phase() == "Scheduled"
    ledger.clock.forward(4 * 3600)
    assert phase() == "Closed"


def test_an_empty_list_says_how_to_create_a_campaign(mei: Console) -> None:
    assert "headgate campaign create FILE" in mei.page("/").one("main").text


def test_a_campaign_that_never_closes_is_shown(mei: Console, ledger: Ledger) -> None:
    ledger.create(closes=datetime.fromisoformat("9999-12-31T23:59:59-12:00"))
    assert "beyond the calendar" in cells(mei.page("/"))[0][2]
    assert mei.get("/campaigns/masks").status_code == 200


def test_a_campaign_shows_its_tally_and_its_pools(mei: Console, ledger: Ledger) -> None:
    masks = ledger.create(labels={"central": {"en": "Central pharmacy", "zh": "中心药房"}})
    ledger.claim(masks, "central", 3)
    page = mei.page("/campaigns/masks")
    assert tally(page) == {
        "Capacity": "7", "Available": "4", "Confirmed": "3", "Held": "0", "Redeemed": "0", "Cancelled": "0",
        "Expired": "0",
    }  # fmt: skip
    assert cells(page) == [["Central pharmacy 中心药房 central", "5", "2", "3"], ["west west", "2", "2", "0"]]
    assert "counted 09:01:00" in page.one("h2", id="tally").text
    assert page.all("p", class_="notice bad") == []


def test_books_that_do_not_balance_are_an_alarm(mei: Console, ledger: Ledger) -> None:
    masks = ledger.create(pools={"central": 5})
    ledger.claim(masks, "central", 2)
    engine = open_engine(ledger.path)
    with writing(engine).begin() as connection:
        connection.execute(sa.update(pool).values(remaining=0, capacity=1))
        connection.execute(sa.update(claim).values(person=b"p" * 16, ordinal=claim.c.seq))
    engine.dispose()
    alarm = mei.page("/campaigns/masks").one("p", class_="notice bad").text
    assert "1 oversold, 1 beyond what a person may hold" in alarm
    assert "headgate audit masks" in alarm


@pytest.mark.parametrize("path", ["/campaigns/none", "/campaigns/MASKS", "/campaigns/%2e%2e", "/campaigns/é"])
def test_an_unknown_campaign_is_a_plain_404(mei: Console, path: str) -> None:
    answer = mei.get(path)
    assert answer.status_code == 404
    page = Page(answer.content)
    assert page.one("h1").text == "Not Found"
    assert page.all("a", href="/")


@pytest.fixture(scope="module")
def pharmacies() -> dict[str, dict[str, str]]:
    return {row[PHARMACY_ID]: {"zh": row[PHARMACY_LABEL]} for row in pharmacy_rows()}


def test_thousands_of_pools_stay_usable(mei: Console, ledger: Ledger, pharmacies: dict[str, dict[str, str]]) -> None:
    assert len(pharmacies) == 6588
    ledger.create(pools=dict.fromkeys(pharmacies, 10), labels=pharmacies)
    answer = mei.get("/campaigns/masks")
    page = Page(answer.content)
    assert len(cells(page)) == POOLS_SHOWN_MAX
    assert "The first 200 of 6,588" in page.one("main").text
    assert len(answer.content) < 60_000
    expected = [code for code, label in pharmacies.items() if "花蓮" in label["zh"]]
    found = mei.page("/campaigns/masks", q=" 花蓮 ")
    assert [code.text for code in found.all("code")[1:]] == expected
    assert f"{len(expected)} found" in found.one("main").text
    assert found.one("input", id="q").attributes["value"] == " 花蓮 "
    assert cells(mei.page("/campaigns/masks", q="0145080011")) == [
        ["衛生福利部花蓮醫院豐濱原住民分院 0145080011", "10", "10", "0"]
    ]


def test_a_search_ignores_case_and_width(mei: Console, ledger: Ledger) -> None:
    def wide(text: str) -> str:
        return "".join(chr(ord(character) + 0xFEE0) for character in text)

    ledger.create(pools={"A-1": 1, "b-2": 1}, labels={"A-1": {"en": f"NORTH {wide('Gate')} {wide('1')}"}})
    for query in ("north", "gate 1", "a-1", wide("A-1")):
        assert [row[0].split()[-1] for row in cells(mei.page("/campaigns/masks", q=query))] == ["A-1"]


def test_a_search_that_finds_nothing_says_so(mei: Console, ledger: Ledger) -> None:
    ledger.create()
    page = mei.page("/campaigns/masks", q="<b>nowhere")
    assert "No pool matches “<b>nowhere”." in page.one("main").text
    assert page.all("a", href="/campaigns/masks")


@pytest.mark.parametrize("query", ["?q=%ff", "?q=%ed%a0%80", "?q=%00", "?q=a&q=b", "?q=" + "x" * 5000, "?q[]=1", "?%"])
def test_any_query_is_answered(mei: Console, ledger: Ledger, query: str) -> None:
    ledger.create()
    assert mei.get(f"/campaigns/masks{query}").status_code == 200


@pytest.fixture(scope="module")
def hostile() -> list[str]:
    return naughty_strings()


def read_back(text: str) -> str:
    """What a reader of the page makes of a text: every kind of line end is one, and half a surrogate pair is none."""
    return text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n")


def put_words(ledger: Ledger, table: str, column: str, words: list[str]) -> None:
    """Write texts that no definition would be allowed to hold straight into the ledger, one for each row."""
    engine = open_engine(ledger.path)
    with writing(engine).begin() as connection:
        for number, text in enumerate(words, 1):
            connection.exec_driver_sql(
                f"UPDATE {table} SET {column} = ? WHERE id = ?", (json.dumps({"en": text}), number)
            )
    engine.dispose()


def test_hostile_titles_stay_words(mei: Console, ledger: Ledger, hostile: list[str]) -> None:
    definition = ledger.create("calm-0", {"a": 1}, {"en": "calm"})
    copies = [{"slug": f"calm-{number}", "number": number} for number in range(1, len(hostile))]
    engine = open_engine(ledger.path)
    with writing(engine).begin() as connection:
        columns = [column.name for column in campaign.c if column.name not in {"id", "slug"}]
        copied = sa.select(sa.bindparam("slug"), *(campaign.c[name] for name in columns)).where(
            campaign.c.id == definition.id
        )
        connection.execute(sa.insert(campaign).from_select(["slug", *columns], copied), copies)
    engine.dispose()
    calm = mei.page("/").tags
    put_words(ledger, "campaign", "title", hostile)
    page = mei.page("/")
    assert page.tags == calm
    assert [shown.text for shown in page.all("bdi")] == [read_back(text) for text in reversed(hostile)]


def test_hostile_labels_stay_words(mei: Console, ledger: Ledger, hostile: list[str]) -> None:
    ledger.create(pools={f"p{number}": 1 for number in range(POOLS_SHOWN_MAX)}, title={"en": "calm"})
    calm = mei.page("/campaigns/masks").tags
    for start in range(0, len(hostile), POOLS_SHOWN_MAX):
        words = (hostile[start:] + hostile)[:POOLS_SHOWN_MAX]
        put_words(ledger, "pool", "label", words)
        put_words(ledger, "campaign", "title", words[:1])
        page = mei.page("/campaigns/masks")
        assert page.tags == calm
        assert [shown.text for shown in page.all("bdi")] == [read_back(text) for text in [words[0], *words]]


def test_hostile_searches_stay_words(mei: Console, ledger: Ledger, hostile: list[str]) -> None:
    ledger.create(pools={"a": 1}, labels={"a": {"en": "\N{SNOWMAN}"}})
    calm = mei.page("/campaigns/masks", q="\N{CLOUD}").tags
    for text in hostile:
        if text.strip() and text[:100].strip() not in {"a", "\N{SNOWMAN}"}:
            page = mei.page("/campaigns/masks", q=text)
            assert page.tags == calm
            assert page.one("input", id="q").attributes["value"] == read_back(text)


SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/campaigns/masks", 200), ("/campaigns/none", 404), ("/nothing", 404), ("/metrics", 200),
     ("/livez", 200), ("/readyz", 200), ("/logout", 405)],
)  # fmt: skip
def test_every_answer_carries_the_security_headers(mei: Console, ledger: Ledger, path: str, status: int) -> None:
    ledger.create()
    answer = mei.get(path)
    assert answer.status_code == status
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    assert answer.headers["cache-control"] == "no-store"


def test_pages_hold_neither_script_nor_inline_style(mei: Console, ledger: Ledger) -> None:
    ledger.create()
    for path in ("/", "/campaigns/masks", "/campaigns/masks?q=nothing", "/nothing"):
        for element in Page(mei.get(path).content).elements:
            assert element.tag not in {"script", "style"}
            assert not any(name == "style" or name.startswith("on") for name in element.attributes)


def test_static_files_are_kept_by_caches_under_names_that_follow_their_content(console: Console) -> None:
    page = console.page("/login")
    css = console.get(page.one("link", rel="stylesheet").attributes["href"] or "")
    icon = console.get(page.one("link", rel="icon").attributes["href"] or "")
    for answer, media_type in ((css, "text/css; charset=utf-8"), (icon, "image/svg+xml")):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == media_type
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    assert "@import" not in css.text
    assert "url(" not in css.text


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json", "/docs", "/static/", "/static/../app.py"])
def test_nothing_of_the_framework_is_served(mei: Console, path: str) -> None:
    assert mei.get(path).status_code == 404


def test_a_fault_shows_nothing_of_the_inside(
    mei: Console, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError(f"the disk said {PASSWORD}")

    monkeypatch.setattr(ledger.campaigns, "campaigns", broken)
    answer = mei.get("/")
    assert answer.status_code == 500
    assert Page(answer.content).one("h1").text == "Internal Server Error"
    assert PASSWORD not in answer.text
    assert "Traceback" not in answer.text
    assert "RuntimeError" in capsys.readouterr().out


def test_the_environment_cannot_switch_debugging_on(
    ledger: Ledger, run_dir: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient[Litestar]
) -> None:
    monkeypatch.setenv("LITESTAR_DEBUG", "1")
    monkeypatch.setenv("LITESTAR_PDB", "1")
    app = console_on(ledger, run_dir)
    assert not app.debug
    assert not app.pdb_on_exception
    assert app.openapi_config is None
    assert not client.app.debug


def test_the_window_is_shown_in_the_campaigns_time_not_the_machines(mei: Console, ledger: Ledger) -> None:
    ledger.create()
    assert OPENS.utcoffset() == timedelta(hours=8)
    assert cells(mei.page("/"))[0][2].startswith("1 Dec 2026 09:00")


def test_the_nodes_are_listed_with_what_differs(mei: Console, ledger: Ledger) -> None:
    assert [notice.text for notice in mei.page("/nodes").all("p")] == ["No node has been seen yet."]
    card = NodeCard("1.2.3", "0003", "10.0.0.7:8000", 1, "abcdef")
    for name in ("web-1", "web-2", "<b>web-3"):
        ledger.nodes.report(name, "participant", card)
    ledger.nodes.report("web-2", "participant", msgspec.structs.replace(card, version="1.3.0"))
    rows = cells(mei.page("/nodes"))
    assert [(row[0], row[2], row[6]) for row in rows] == [
        ("<b>web-3", "1.2.3", "–"),
        ("web-1", "1.2.3", "–"),
        ("web-2", "1.3.0", "other version"),
    ]


def test_a_campaign_says_that_it_is_queued_and_where_it_lives_where_there_are_several_places(
    mei: Console, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.create()
    opens = OPENS + timedelta(hours=1)
    ledger.campaigns.create(
        CampaignDefinition("later", {"en": "Later"}, opens, CLOSES, pools=[PoolDefinition("a", 1)], mode=Mode.QUEUED),
        actor="test",
    )

    def facts(slug: str) -> str:
        return mei.page(f"/campaigns/{slug}").one("p", class_="facts").text

    assert "Queued" in facts("later")
    assert "Queued" not in facts("masks")
    assert "ledger" not in facts("masks")
    monkeypatch.setattr(Campaigns, "several", property(lambda _campaigns: True))
    assert "On the ledger main" in " ".join(facts("masks").split())
