"""A queued campaign as its people meet it: they are told that they wait, and what came of it afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.client import Api, bearer, claims_path, confirmed, describe, refused
from tests.acceptance.product import Server, create_campaign, eventually, run_cli, served
from tests.acceptance.queued_house import SLUG, House, pending
from tests.acceptance.test_page import browser, submit
from tests.markup import Page
from tests.servers import Server as Store
from tests.servers import postgresql, valkey


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with valkey(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[House]:
    """One node and its consumer; every test has a campaign of its own."""
    directory = tmp_path_factory.mktemp("house")
    if request.param == "sqlite":
        made = House(directory, store.url)
        made.create(5)
        made.start()
        yield made
        made.end()
        return
    with postgresql(tmp_path_factory.mktemp("database")) as database:
        made = House(directory, store.url, database)
        made.create(5)
        made.start()
        yield made
        made.end()


def opened(house: House, slug: str, units: int, **options: object) -> str:
    house.create(units, slug, **options)
    eventually(f"{slug} is open", lambda: house.apis[0].phase(slug) == "open")
    return slug


def test_a_request_waits_until_it_is_decided_and_then_the_claim_is_there(house: House) -> None:
    api, token = house.apis[0], house.apis[0].session()
    stopped = house.stop_consumers()
    pending(api.claim(SLUG, token))
    assert house.mine(token) == {"claims": [], "pending": True}
    pending(api.claim(SLUG, token))
    assert house.waiting() == 1, "the same request waits once"
    house.go_on(stopped)
    mine = house.decided(token)
    (claim,) = mine["claims"]
    assert (claim["pool"], claim["status"]) == ("central", "confirmed")
    assert mine == {"claims": [claim], "pending": False}
    assert house.waiting() == 0
    # Asking again waits again, and leads to the same claim.
    pending(api.claim(SLUG, token))
    assert house.decided(token)["claims"] == [claim]
    assert api.cancel(SLUG, token, claim["id"]).status_code == 200
    (cancelled,) = house.mine(token)["claims"]
    assert cancelled["status"] == "cancelled"


def test_whoever_waited_in_vain_is_told_so_until_they_ask_again(house: House) -> None:
    slug = opened(house, "few", 1)
    api = house.apis[0]
    stopped = house.stop_consumers()
    tokens = [api.session() for _ in range(3)]
    for token in tokens:
        pending(api.claim(slug, token))
    house.go_on(stopped)
    found = [house.decided(token, slug) for token in tokens]
    assert sorted(str(mine.get("outcome")) for mine in found) == ["None", "sold_out", "sold_out"]
    loser = next(token for token, mine in zip(tokens, found, strict=True) if "outcome" in mine)
    pending(api.claim(slug, loser, "north"))
    mine = house.decided(loser, slug)
    assert ([claim["pool"] for claim in mine["claims"]], "outcome" in mine) == (["north"], False)


def test_what_is_certain_is_said_at_once(house: House) -> None:
    slug = opened(house, "gone", 1, pools=(("central", 1),))
    api, holder = house.apis[0], house.apis[0].session()
    pending(api.claim(slug, holder))
    (claim,) = house.decided(holder, slug)["claims"]
    eventually("the node knows that it is gone", lambda: api.phase(slug) == "sold_out")
    refused(api.claim(slug, api.session()), 409, "sold_out")
    assert confirmed(api.claim(slug, holder), status=200)["id"] == claim["id"]
    refused(api.claim(slug, api.session(), "nowhere"), 409, "wrong_pool")
    refused(api.claim(slug, None), 401, "no_session")
    refused(api.request("POST", claims_path(slug), content=b"{", headers=bearer(holder) | {
        "Content-Type": "application/json"}), 400, "invalid")  # fmt: skip
    house.cli("campaign", "topup", slug, "central", "5")
    house.cli("campaign", "pause", slug)
    eventually("the node knows of the pause", lambda: api.phase(slug) == "paused")
    refused(api.claim(slug, api.session()), 409, "paused")
    house.cli("campaign", "close", slug)
    eventually("the node knows of the end", lambda: api.phase(slug) == "closed")
    refused(api.claim(slug, api.session()), 409, "closed")
    assert house.waiting() == 0


def test_what_is_closed_while_somebody_waits_is_closed_for_them(house: House) -> None:
    slug = opened(house, "ends", 5)
    api, token = house.apis[0], house.apis[0].session()
    stopped = house.stop_consumers()
    pending(api.claim(slug, token))
    house.cli("campaign", "close", slug)
    house.go_on(stopped)
    assert house.decided(token, slug) == {"claims": [], "pending": False, "outcome": "closed", "pool": "central"}


def test_a_key_makes_one_claim_however_often_and_wherever_it_is_sent(house: House) -> None:
    slug = opened(house, "keys", 50, per_person=3)
    api, token = house.apis[0], house.apis[0].session()
    for _ in range(2):
        pending(api.claim(slug, token, key="one"))
        (first,) = house.decided(token, slug)["claims"]
    stopped = house.stop_consumers()
    pending(api.claim(slug, token, key="two"))
    refused(api.claim(slug, token, "north", key="two"), 422, "invalid")
    house.go_on(stopped)
    assert len(house.decided(token, slug)["claims"]) == 2
    pending(api.claim(slug, token, "north", key="one"))
    mine = house.decided(token, slug)
    assert (mine["outcome"], mine["reason"], mine["pool"]) == ("invalid", "key_reused", "north")
    assert len(mine["claims"]) == 2
    assert api.cancel(slug, token, first["id"]).status_code == 200
    pending(api.claim(slug, token, key="one"))
    found = house.decided(token, slug)["claims"]
    assert [claim["status"] for claim in found] == ["cancelled", "confirmed"], "a repeated request takes nothing new"


@pytest.mark.parametrize("keys", ["none", "one", "many"])
def test_one_person_asks_fifty_times_at_once_and_has_one_claim(house: House, keys: str) -> None:
    slug = opened(house, f"eager-{keys}", 50)
    api, token = house.apis[0], house.apis[0].session()

    def ask(number: int) -> str:
        answer = api.claim(slug, token, key={"none": None, "one": "k", "many": f"k{number}"}[keys])
        if answer.status_code == 503:
            refused(answer, 503, "overloaded")
        return f"{answer.status_code} {answer.json()['outcome']}"

    with ThreadPoolExecutor(50) as pool:
        answers = Counter(pool.map(ask, range(50)))
    assert set(answers) <= {"202 pending", "503 overloaded"}, answers
    assert keys == "many" or answers == {"202 pending": 50}
    mine = house.decided(token, slug)
    assert len(mine["claims"]) == 1
    assert house.audit(slug)["confirmed"] == 1


def test_without_script_the_page_says_that_one_waits_and_looks_again(house: House) -> None:
    slug = opened(house, "no-script", 2)
    stopped = house.stop_consumers()
    with browser(house.nodes[0]) as http:
        page = submit(http, http.get(f"/c/{slug}"), "central")
        assert page.status_code == 200, describe(page)
        assert page.url.path == f"/c/{slug}/mine", page.url
        assert page.headers["cache-control"] == "no-store"
        waits = Page(page.content)
        assert waits.one("h2").text == "Waiting for the decision"
        (refresh,) = waits.all("meta", http_equiv="refresh")
        assert 1 <= int(str(refresh.attributes["content"])) <= 10
        assert [element.tag for element in refresh.inside][-1] == "noscript"
        chinese = Page(http.get(f"/c/{slug}/mine?notice=pending&lang=zh").content)
        assert chinese.one("h2").text == "正在等待结果"
        house.go_on(stopped)
        decided = eventually(
            "the page shows what came of it",
            lambda: None if b"http-equiv" in (answer := http.get(page.url).content) else Page(answer),
        )
        assert [note.text for note in decided.shown("p", role="status")] == ["Your reservation is recorded."]
        assert len(decided.all("strong")) == 1


def test_without_script_whoever_lost_is_told_so_and_so_is_whoever_was_lost(house: House) -> None:
    slug = opened(house, "no-script-lost", 1)
    with browser(house.nodes[0]) as first, browser(house.nodes[0]) as second, browser(house.nodes[0]) as third:
        stopped = house.stop_consumers()
        pages = [submit(http, http.get(f"/c/{slug}"), "central") for http in (first, second)]
        house.go_on(stopped)
        eventually("both are decided", lambda: house.waiting() == 0)
        found = [Page(http.get(page.url).content) for http, page in zip((first, second), pages, strict=True)]
        alerts = [alert.text for page in found for alert in page.shown("p", role="alert")]
        assert alerts == ["There is none left of this one. Please choose another."]
        stopped = house.stop_consumers()
        page = submit(third, third.get(f"/c/{slug}"), "north")
        house.store.flushall()
        house.go_on(stopped)
        said = Page(third.get(page.url).content).shown("p", role="status")
        assert [note.text for note in said] == [
            "Your request was lost before it was decided, and nothing was taken. Please ask again."
        ]
        submit(third, third.get(f"/c/{slug}"), "north")
        eventually("what is asked again is decided", lambda: house.audit(slug)["confirmed"] == 2)


def counted(house: House, name: str, count: int) -> bool:
    return house.metric(name) == count


def test_the_mode_is_shown_and_what_waits_is_counted(house: House) -> None:
    assert '"mode": "queued"' in house.cli("campaign", "show", SLUG, "--json")
    assert "queued" in house.cli("campaign", "show", SLUG)
    slug = opened(house, "counted", 5)
    stopped = house.stop_consumers()
    tokens = [house.apis[0].session() for _ in range(7)]
    for token in tokens:
        pending(house.apis[0].claim(slug, token))
    house.go_on(stopped)
    for token in tokens:
        house.decided(token, slug)
    for outcome, count in (("pending", 7), ("confirmed", 5), ("sold_out", 2)):
        name = f'headgate_claims_total{{campaign="{slug}",outcome="{outcome}"}}'
        eventually(f"{outcome} is counted", partial(counted, house, name, count))
    eventually("nothing waits", lambda: house.metric("headgate_queue_length") == 0)


def test_an_immediate_campaign_beside_it_is_as_it_was(house: House) -> None:
    slug = opened(house, "at-once", 1, mode="immediate", pools=(("central", 1),))
    api, token = house.apis[0], house.apis[0].session()
    claim = confirmed(api.claim(slug, token))
    assert confirmed(api.claim(slug, token), status=200)["id"] == claim["id"]
    answer = api.request("GET", f"{claims_path(slug)}/mine", headers=bearer(token))
    assert set(answer.json()) == {"claims"}
    refused(api.claim(slug, api.session()), 409, "sold_out")


def test_without_a_store_that_nodes_share_nothing_waits(data: Path) -> None:
    create_campaign(data, "lamps", mode="queued")
    with served(data) as node:
        assert "consumer" not in node.log()
        with Api(node.url) as api:
            token = api.session()
            claim = confirmed(api.claim("lamps", token))
            answer = api.request("GET", f"{claims_path('lamps')}/mine", headers=bearer(token))
            assert [found["id"] for found in answer.json()["claims"]] == [claim["id"]]
            assert "pending" not in answer.json()
    run_cli("serve", "--plane", "consumer", data=data).failed("gate.url", "memory:", "redis://")


def test_a_campaign_that_would_not_wait_is_pointed_out_when_it_is_made(data: Path) -> None:
    file = data.parent / "lamps.toml"
    file.write_text(
        'slug = "lamps"\nmode = "queued"\ntitle = { en = "Lamps" }\nopens_at = 2030-01-01T00:00:00Z\n'
        'closes_at = 2030-01-02T00:00:00Z\n[[pools]]\nid = "a"\nunits = 1\n'
    )
    made = run_cli("campaign", "create", file, data=data).ok()
    assert made.out == "lamps\n"
    assert "gate.url" in made.err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_node_alone_with_the_embedded_ledger_tells_nobody_who_has_a_claim_that_they_lost(
    tmp_path: Path, store: Store, workers: int
) -> None:
    """A worker that makes all claims of a ledger may refuse by itself; consumers make these."""
    settings = {"HEADGATE_GATE__URL": store.url}
    node = Server(tmp_path / "data", settings=settings, workers=workers)
    create_campaign(node.data, "lamps", (("central", 1),), mode="queued")
    node.start()
    try:
        with Api(node.url) as api:
            token = api.session()
            pending(api.claim("lamps", token))
            eventually("it is decided", lambda: api.mine("lamps", token))
            eventually("the workers know that it is gone", lambda: api.phase("lamps") == "sold_out")
            for _ in range(8):
                confirmed(api.claim("lamps", token), status=200)
                refused(api.claim("lamps", api.session()), 409, "sold_out")
    finally:
        node.end()
