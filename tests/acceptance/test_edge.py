"""A real nginx on what `headgate edge render` wrote, before a real node: what it answers, and what it passes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import httpx2
import pytest

from tests.acceptance.client import Api, claims_path, confirmed, describe, refused
from tests.acceptance.product import Server, after_the_next_call, create_campaign, eventually, opened, run_cli, served
from tests.edges import Edge, edge

TRUSTING = {"HEADGATE_TRUSTED_PROXIES": "127.0.0.0/8"}
LAG_S = 4.0
"""Publishing takes half a second, and nginx remembers for one what it has found; the rest is for a busy machine."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("behind") / "data", settings=TRUSTING) as running:
        yield running


@pytest.fixture(scope="module")
def front(node: Server) -> Iterator[Edge]:
    with edge(node.data.parent / "edge", node.data / "public", f"127.0.0.1:{node.port}") as running:
        yield running


@pytest.fixture(scope="module")
def there(front: Edge) -> Iterator[Api]:
    with Api(front.url) as client:
        yield client


@pytest.fixture(scope="module")
def direct(node: Server) -> Iterator[Api]:
    with Api(node.url) as client:
        yield client


class Frozen:
    """A node of which nobody answers; whatever is answered meanwhile, the edge has answered by itself."""

    def __init__(self, server: Server) -> None:
        self._pids = server.processes()

    def __enter__(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGCONT)


def published(node: Server, slug: str, outcome: str | None) -> None:
    """Wait until the edge refuses the campaign with `outcome`, or nobody."""
    directory = node.data / "public" / "refusals"

    def is_so() -> bool:
        return [path.name for path in directory.glob(f"{slug}.*")] == ([f"{slug}.{outcome}"] if outcome else [])

    eventually(f"{slug} refuses with {outcome}", is_so, within_s=LAG_S)


def test_claims_go_through_and_come_back(node: Server, direct: Api, there: Api) -> None:
    slug = opened(node, direct, "through", (("central", 2),))
    token = there.session()
    claim = confirmed(there.claim(slug, token))
    assert confirmed(there.claim(slug, token), status=200)["id"] == claim["id"]
    assert [one["id"] for one in there.mine(slug, token)] == [claim["id"]]
    assert there.cancel(slug, token, claim["id"]).status_code == 200


def test_the_state_is_that_of_the_node_and_needs_none(node: Server, direct: Api, there: Api) -> None:
    slug = opened(node, direct, "shown", tuple((f"p{number}", 1) for number in range(60)))
    eventually("the state is published", (node.data / "public" / "state" / f"{slug}.json.gz").exists)
    with Frozen(node):
        answer = there.request("GET", f"/api/v1/campaigns/{slug}")
        other = there.request("HEAD", f"/api/v1/campaigns/{slug}")
    told = direct.request("GET", f"/api/v1/campaigns/{slug}")
    moving = {"server_time", "poll_after_ms"}
    assert {k: v for k, v in answer.json().items() if k not in moving} == {
        k: v for k, v in told.json().items() if k not in moving
    }
    for header in ("content-type", "cache-control"):
        assert answer.headers[header] == told.headers[header] == other.headers[header]
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_state_that_is_not_published_comes_from_a_node(node: Server, direct: Api, there: Api) -> None:
    slug = opened(node, direct, "young", (("central", 1),))
    file = node.data / "public" / "state" / f"{slug}.json"
    eventually("the state is published", file.exists)
    file.unlink()
    assert there.state(slug)["slug"] == slug
    refused(there.request("GET", "/api/v1/campaigns/nowhere"), 404, "unknown_campaign")
    refused(there.request("POST", f"/api/v1/campaigns/{slug}"), 405, "invalid")


def test_what_is_sold_out_or_paused_is_refused_without_the_node(node: Server, direct: Api, there: Api) -> None:
    slug = opened(node, direct, "gone", (("central", 1),))
    winner, stranger = there.session(), there.session()
    claim = confirmed(there.claim(slug, winner, key="once"))
    published(node, slug, "sold_out")
    mine = f"{claims_path(slug)}/mine"

    def refuses_by_itself() -> bool:
        return mine in there.claim(slug, stranger).json()["detail"]

    eventually("the edge refuses", refuses_by_itself, within_s=LAG_S)
    with Frozen(node):
        for _ in range(3):
            assert mine in refused(there.claim(slug, stranger), 409, "sold_out")["detail"]
    assert confirmed(there.claim(slug, winner, key="once"), status=200)["id"] == claim["id"], "who asks again is told"
    refused(there.claim(slug, stranger, key="mine"), 409, "sold_out")
    run_cli("campaign", "topup", slug, "central", "1", data=node.data).ok()
    published(node, slug, None)
    eventually("the edge lets through", lambda: there.claim(slug, stranger).status_code == 201, within_s=LAG_S)
    run_cli("campaign", "pause", slug, data=node.data).ok()
    published(node, slug, "paused")
    eventually("paused", lambda: there.claim(slug, stranger).json().get("outcome") == "paused", within_s=LAG_S)


def test_nobody_is_kept_out_when_it_opens(node: Server, direct: Api, there: Api) -> None:
    slug = create_campaign(node.data, "soon", (("central", 100),), opens_at=after_the_next_call())
    eventually("it is known", lambda: there.request("GET", f"/api/v1/campaigns/{slug}").status_code == 200)
    token = there.session()
    phases: list[str] = []

    def claimed() -> bool:
        before = direct.state(slug)["phase"]
        answer = there.claim(slug, token)
        if answer.status_code == 201:
            return True
        refused(answer, 409, "not_open")
        phases.append(before)
        return False

    eventually("the campaign opens", claimed)
    assert set(phases) == {"scheduled"}, "it was open, and a claim was refused as too early"


def test_the_page_is_kept_for_all_and_its_form_is_not(node: Server, direct: Api, there: Api, front: Edge) -> None:
    slug = opened(node, direct, "page", (("central", 5),))
    first = there.request("GET", f"/c/{slug}")
    assert first.status_code == 200, describe(first)
    with Frozen(node):
        again = there.request("GET", f"/c/{slug}", headers={"Cookie": f"hg_session={'x' * 56}"})
    assert again.text == first.text
    chinese = there.request("GET", f"/c/{slug}", headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert "免费口罩" in chinese.text
    token = there.session()
    form = {"pool": "central"}
    sent = there.request(
        "POST", f"/c/{slug}", data=form, headers={"Cookie": f"hg_session={token}", "Origin": front.url}
    )
    assert sent.status_code == 303, describe(sent)
    assert len(there.mine(slug, token)) == 1, "the form was sent as nobody"


def test_assets_are_immutable_and_need_no_node(node: Server, there: Api) -> None:
    names = [path.name for path in (node.data / "public" / "assets").iterdir()]
    assert names
    with Frozen(node):
        for name in names:
            answer = there.request("GET", f"/assets/{name}")
            assert answer.status_code == 200, describe(answer)
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            kind = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
            assert answer.headers["content-type"] == kind[name.rpartition(".")[2]]


def test_what_only_operators_may_see_is_not_passed_on(there: Api) -> None:
    assert there.request("GET", "/metrics").status_code == 404
    for path in ("/refusals/gone.sold_out", "/state/shown.json", "/flags/", "/../ledger.db"):
        assert there.request("GET", path).status_code in (400, 404), path


def test_what_nginx_refuses_by_itself_is_a_problem_document(there: Api) -> None:
    refused(there.request("POST", claims_path("gone"), content=b"x" * 20_000), 413, "invalid")


def test_nothing_that_tells_who_asked_is_logged(node: Server, direct: Api, there: Api, front: Edge) -> None:
    slug = opened(node, direct, "quiet", (("central", 1),))
    assert there.request("GET", f"/c/{slug}?q=somebody").status_code == 200
    lines = eventually("it is logged", lambda: [one for one in front.log().splitlines() if f"/c/{slug}" in one])
    line = json.loads(lines[-1])
    assert (line["path"], line["status"], line["node_status"]) == (f"/c/{slug}", 200, "200")
    assert "somebody" not in front.log()
    assert "127.0.0.1" not in front.log()


def test_a_forged_address_is_nobodys(node: Server, direct: Api) -> None:
    """The edge is reached from this machine alone, and believes nobody here: what a header says changes nothing."""
    slug = opened(node, direct, "counted", (("central", 1_000),))
    limited = {"HEADGATE_LIMITS__PER_IP_PER_MINUTE": "30", "HEADGATE_TRUSTED_PROXIES": "192.0.2.1"}
    place = node.data.parent / "limited"
    with edge(place, node.data / "public", f"127.0.0.1:{node.port}", limited) as front, Api(front.url) as client:
        answers = [
            client.request("POST", claims_path(slug), headers={"X-Forwarded-For": f"203.0.{n // 250}.{n % 250}"})
            for n in range(60)
        ]
    through = [answer for answer in answers if answer.status_code != httpx2.codes.TOO_MANY_REQUESTS]
    # One at once and a burst of 30; and one more every two seconds that this took.
    assert len(through) in range(31, 36)
    for answer in answers[-20:]:
        refused(answer, 429, "rate_limited")
