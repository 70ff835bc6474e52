"""The public state of a campaign through all its phases, its page, health and metrics."""

from __future__ import annotations

import contextlib
import json

import httpx2

from tests.acceptance.client import Api, bearer, claims_path, confirmed, describe, refused, when
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, after_the_next_call, create_campaign, eventually, in_s, opened, run_cli

STATE_MEMBERS = {
    "slug", "kind", "title", "phase", "opens_at", "closes_at", "server_time", "pools", "poll_after_ms", "version",
}  # fmt: skip


def the_console(server: Server) -> Api:
    """A client of the console listener, which may come up a little after the participants'."""
    console = Api(server.console_url)

    def answers() -> bool:
        with contextlib.suppress(httpx2.TransportError):
            return console.request("GET", "/metrics").status_code == 200
        return False

    eventually("the console answers /metrics", answers)
    return console


def test_state_has_all_members_and_is_cacheable_for_a_second(api: Api, masks: str) -> None:
    answer = api.request("GET", f"/api/v1/campaigns/{masks}")
    state = answer.json()
    assert not STATE_MEMBERS - set(state), f"missing {STATE_MEMBERS - set(state)}"
    assert state["slug"] == masks
    assert state["kind"] == "first_come"
    assert state["phase"] == "open"
    assert {pool["id"] for pool in state["pools"]} == {"central", "west"}
    assert all({"id", "label", "state"} <= set(pool) for pool in state["pools"]), state["pools"]
    assert "Free masks" in str(state["title"])
    assert isinstance(state["poll_after_ms"], int)
    assert when(state["opens_at"]) < when(state["server_time"]) < when(state["closes_at"])
    control = answer.headers["cache-control"].replace(" ", "").lower()
    ages = [int(part.partition("=")[2]) for part in control.split(",") if part.startswith(("max-age", "s-maxage"))]
    assert 0 <= max(ages, default=99) <= 1, f"Cache-Control: {control}"
    assert "private" not in control, f"Cache-Control: {control}"
    assert "set-cookie" not in answer.headers, "a cookie in an answer that caches share"


def test_state_tells_no_numbers_of_units(api: Api, masks: str) -> None:
    """The contract gives a pool id, label and state: exact stock would help those who race by machine."""
    assert "100000" not in json.dumps(api.state(masks))


def test_an_unknown_campaign_is_404_everywhere(api: Api) -> None:
    token = api.session()
    refused(api.request("GET", "/api/v1/campaigns/nowhere"), 404, "unknown_campaign")
    refused(api.claim("nowhere", token), 404, "unknown_campaign")
    refused(api.request("GET", f"{claims_path('nowhere')}/mine", headers=bearer(token)), 404, "unknown_campaign")
    refused(api.cancel("nowhere", token, "x"), 404, {"unknown_campaign", "invalid"})
    assert api.request("GET", "/c/nowhere").status_code == 404


def test_phase_scheduled_reveals_nothing_and_refuses(server: Server, api: Api) -> None:
    slug = create_campaign(server.data, "tomorrow", opens_at=in_s(86_400), closes_at=in_s(90_000))
    eventually("the campaign is known", lambda: api.phase(slug) in {"scheduled", "lobby"})
    refused(api.claim(slug, api.session()), 409, "not_open")
    refused(api.claim(slug, api.session(), "no-such-pool"), 409, {"not_open", "wrong_pool"})
    assert Ledger(server.data).claims(slug) == []


def test_nothing_before_opening_and_the_first_right_after(server: Server, api: Api) -> None:
    slug = create_campaign(server.data, "soon", (("central", 3),), opens_at=after_the_next_call(), closes_at=in_s(3600))
    eventually("the campaign is known", lambda: api.phase(slug))
    opens_at = when(api.state(slug)["opens_at"])
    token, refusals = api.session(), 0

    def first() -> httpx2.Response | None:
        nonlocal refusals
        answer = api.claim(slug, token)
        if answer.status_code == 409:
            refused(answer, 409, "not_open")
            refusals += 1
            return None
        return answer

    claim = confirmed(eventually("a claim after opening", first))
    assert when(claim["at"]) >= opens_at, f"confirmed at {claim['at']}, opens at {opens_at}"
    assert refusals, "the campaign was open before it should have been tried"
    assert api.phase(slug) == "open"


def test_nothing_after_closing_time(server: Server, api: Api) -> None:
    slug = create_campaign(server.data, "ending", (("central", 100_000),), closes_at=after_the_next_call())
    eventually("the campaign is open", lambda: api.phase(slug) == "open")
    closes_at, late = when(api.state(slug)["closes_at"]), api.session()

    def closed() -> bool:
        answer = api.claim(slug, api.session())
        if answer.status_code == 201:
            claim = confirmed(answer)
            assert when(claim["at"]) < closes_at, f"confirmed at {claim['at']}, closes at {closes_at}"
            return False
        refused(answer, 409, "closed")
        return True

    eventually("claims are refused as closed", closed)
    eventually("phase closed", lambda: api.phase(slug) == "closed")
    refused(api.claim(slug, late), 409, "closed")


def test_phase_sold_out(api: Api, fresh: str) -> None:
    for _ in range(2):
        confirmed(api.claim(fresh, api.session()))
    refused(api.claim(fresh, api.session()), 409, "sold_out")
    state = eventually("phase sold_out", lambda: s if (s := api.state(fresh))["phase"] == "sold_out" else None)
    assert state["pools"][0]["state"] != "available", state["pools"]


def test_one_empty_pool_leaves_the_other_open(server: Server, api: Api) -> None:
    slug = opened(server, api, "halves", (("central", 1), ("west", 1)))
    confirmed(api.claim(slug, api.session(), "central"))
    refused(api.claim(slug, api.session(), "central"), 409, "sold_out")

    def differs() -> bool:
        return len({pool["state"] for pool in api.state(slug)["pools"]}) == 2

    eventually("the two pools show different states", differs)
    assert api.phase(slug) == "open"
    confirmed(api.claim(slug, api.session(), "west"))


def test_version_changes_with_the_campaign(server: Server, api: Api, fresh: str) -> None:
    before = api.state(fresh)["version"]
    run_cli("campaign", "topup", fresh, "central", "5", data=server.data).ok()
    eventually("a new version", lambda: api.state(fresh)["version"] != before)


def test_the_page_is_light_has_a_policy_and_speaks_both_languages(api: Api, masks: str) -> None:
    pages = {}
    for language in ("en", "zh-CN,zh;q=0.9"):
        page = api.request("GET", f"/c/{masks}", headers={"Accept-Language": language})
        assert page.status_code == 200, describe(page)
        assert page.headers["content-type"].startswith("text/html"), describe(page)
        policy = page.headers.get("content-security-policy", "")
        assert "script-src" in policy or "default-src" in policy, f"Content-Security-Policy: {policy!r}"
        assert "unsafe-inline" not in policy.split("style-src")[0], f"Content-Security-Policy: {policy!r}"
        assert len(page.content) < 30_000, f"{len(page.content)} bytes"
        if "set-cookie" in page.headers:
            assert {"no-store", "private"} & {p.strip() for p in page.headers["cache-control"].split(",")}, describe(
                page
            )
        pages[language[:2]] = page.text
    assert "Free masks" in pages["en"]
    assert "免费口罩" in pages["zh"]


def test_health_and_metrics_are_where_they_belong(server: Server, api: Api, masks: str) -> None:
    confirmed(api.claim(masks, api.session()))
    assert api.request("GET", "/livez").status_code == 200
    assert api.request("GET", "/readyz").status_code == 200
    assert api.request("GET", "/metrics").status_code == 404, "metrics are for the console listener only"
    with the_console(server) as console:
        answer = console.request("GET", "/metrics")
        assert answer.status_code == 200, describe(answer)
        assert answer.headers["content-type"].startswith("text/plain"), describe(answer)
        for name in ("headgate_requests_total", "headgate_request_seconds", "headgate_claims_total", "headgate_stock",
                     "headgate_batch_size", "headgate_ledger_commit_seconds", "headgate_gate_seconds",
                     "headgate_concurrency_limit", "headgate_inflight"):  # fmt: skip
            assert name in answer.text, f"{name} is missing from /metrics"


def test_metrics_count_the_claims_of_all_workers(server: Server, api: Api) -> None:
    slug = opened(server, api, "counted", (("central", 7),))
    for _ in range(10):
        with Api(server.url) as fresh_connection:
            fresh_connection.claim(slug, fresh_connection.session())
    with the_console(server) as console:

        def total(outcome: str) -> float:
            lines = console.request("GET", "/metrics").text.splitlines()
            wanted = [
                x for x in lines if x.startswith("headgate_claims_total{") and slug in x and f'outcome="{outcome}"' in x
            ]
            return sum(float(x.rsplit(" ", 1)[1]) for x in wanted)

        eventually("7 confirmed claims are counted", lambda: total("confirmed") == 7)
        eventually("3 sold-out refusals are counted", lambda: total("sold_out") == 3)


def test_nothing_personal_is_logged_or_counted(server: Server, api: Api, masks: str) -> None:
    token = api.session()
    claim = confirmed(api.claim(masks, token, key="private-key-81"))
    with the_console(server) as console:
        seen = server.log() + console.request("GET", "/metrics").text
    for secret in (token, claim["code"], claim["id"]):
        assert secret not in seen, f"{secret!r} is in the log or the metrics"
