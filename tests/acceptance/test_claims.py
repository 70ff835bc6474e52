"""Claims: confirmed once, repeated, refused with a reason, idempotent, cancelled by their owner only."""

from __future__ import annotations

import httpx2
import pytest

from tests.acceptance.client import Api, bearer, claims_path, confirmed, describe, refused, when
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, eventually, opened


def test_a_claim_is_confirmed_once_and_repeated_after(api: Api, masks: str, ledger: Ledger) -> None:
    token = api.session()
    claim = confirmed(api.claim(masks, token))
    assert claim["pool"] == "central"
    assert claim["ordinal"] == 1
    assert claim["code"]
    when(claim["at"])
    assert confirmed(api.claim(masks, token), status=200) == claim, "the repeated claim differs"
    row = ledger.confirmed(masks)[claim["id"]]
    assert row.pool == "central"
    assert token not in str(row.person)


def test_mine_shows_own_claims_and_is_not_cached(api: Api, masks: str) -> None:
    token = api.session()
    assert api.mine(masks, token) == []
    claim = confirmed(api.claim(masks, token))
    mine = api.mine(masks, token)
    assert [c["id"] for c in mine] == [claim["id"]]
    answer = api.request("GET", f"{claims_path(masks)}/mine", headers=bearer(token))
    assert "no-store" in answer.headers.get("cache-control", ""), "personal data may be cached"


def test_claim_ids_and_codes_cannot_be_guessed(api: Api, masks: str) -> None:
    claims = [confirmed(api.claim(masks, api.session())) for _ in range(12)]
    for member in ("id", "code"):
        values = [str(c[member]) for c in claims]
        assert len(set(values)) == 12, values
        assert not all(v.isdigit() and len(v) < 8 for v in values), f"{member} is a counter: {values}"
        ends = [v[-4:] for v in values]
        assert len(set(ends)) > 10, f"{member}s end alike: {values}"
        assert ends != sorted(ends), f"{member}s can be counted up: {values}"


def test_per_person_two_gives_ordinals_one_and_two(server: Server, api: Api, ledger: Ledger) -> None:
    slug = opened(server, api, "pairs", (("central", 10),), per_person=2)
    token = api.session()
    claims = [confirmed(api.claim(slug, token, key=f"key-{n}")) for n in (1, 2)]
    assert [c["ordinal"] for c in claims] == [1, 2]
    assert claims[0]["id"] != claims[1]["id"]
    refused(api.claim(slug, token, key="key-3"), 409, "limit_reached")
    refused(api.claim(slug, token), 409, "limit_reached")
    assert len(api.mine(slug, token)) == 2
    assert ledger.check(slug, per_person=2)["central"].remaining == 8


def test_another_pool_does_not_give_a_second_claim(api: Api, masks: str) -> None:
    token = api.session()
    claim = confirmed(api.claim(masks, token, "central"))
    refused(api.claim(masks, token, "west"), 409, "limit_reached")
    assert [c["id"] for c in api.mine(masks, token)] == [claim["id"]]


def test_an_unknown_pool_is_wrong_pool(api: Api, masks: str) -> None:
    refused(api.claim(masks, api.session(), "elsewhere"), 409, "wrong_pool")


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'"central"', b"1", b'{"pool":1}', b'{"pool":null}', b'{"pool":["central"]}',
     b'{"pool":{"id":"central"}}', b'{"pool":"central"', b'{"pool":"central"}x', b"pool=central", b'{"pool":"\xff"}',
     b'{"pool":true}', b'{"Pool":"central"}', b"\xef\xbb\xbf", b'{"pool":1e999}', b'{"pool":' + b"9" * 4000 + b"}"],
)  # fmt: skip
def test_a_wrong_body_is_invalid(api: Api, masks: str, body: bytes) -> None:
    token = api.session()
    headers = bearer(token) | {"Content-Type": "application/json"}
    refused(api.request("POST", claims_path(masks), content=body, headers=headers), 400, "invalid")
    assert api.mine(masks, token) == []


@pytest.mark.parametrize("pool", ["", " central", "CENTRAL", "central\x00", "x" * 5000, "../central", "中心药房"])
def test_a_pool_that_is_none_is_refused(api: Api, masks: str, pool: str) -> None:
    refused(api.claim(masks, api.session(), pool), 409, "wrong_pool")


@pytest.mark.parametrize("member", ["fields", "signals", "ticket"])
@pytest.mark.parametrize(
    "value", [5, [], "x" * 300, True, {"a": {"b": [None]}}], ids=["5", "list", "text", "true", "nested"]
)
def test_optional_members_have_to_be_of_their_type(api: Api, masks: str, member: str, value: object) -> None:
    headers = bearer(api.session())
    answer = api.request("POST", claims_path(masks), json={"pool": "central", member: value}, headers=headers)
    if isinstance(value, str if member == "ticket" else dict):
        confirmed(answer)
    else:
        refused(answer, 400, "invalid")


def test_members_that_nobody_asked_for_change_nothing(api: Api, masks: str, ledger: Ledger) -> None:
    token = api.session()
    answer = api.claim(masks, token, ordinal=7, person="somebody", status="redeemed", seq=1, campaign="x", id="mine")
    if answer.status_code == 400:
        refused(answer, 400, "invalid")
        return
    claim = confirmed(answer)
    row = ledger.confirmed(masks)[claim["id"]]
    assert row.ordinal == 1
    assert row.person != "somebody"
    assert row.id != "mine"


def test_no_session_is_401(api: Api, masks: str) -> None:
    refused(api.claim(masks, None), 401, "no_session")
    refused(api.request("GET", f"{claims_path(masks)}/mine"), 401, "no_session")
    refused(api.request("DELETE", f"{claims_path(masks)}/x"), 401, "no_session")


@pytest.mark.parametrize(
    "kind", ["text/plain", "text/xml", "application/octet-stream", "multipart/form-data; boundary=x"]
)
def test_another_media_type_is_415(api: Api, masks: str, kind: str) -> None:
    token = api.session()
    headers = bearer(token) | {"Content-Type": kind}
    refused(api.request("POST", claims_path(masks), content=b'{"pool":"central"}', headers=headers), 415, None)
    assert api.mine(masks, token) == []


def test_json_with_a_charset_is_json(api: Api, masks: str) -> None:
    headers = bearer(api.session()) | {"Content-Type": "Application/JSON; charset=utf-8"}
    confirmed(api.request("POST", claims_path(masks), content=b'{"pool":"central"}', headers=headers))


@pytest.mark.parametrize("size", [1_000_000, 10_000_000])
def test_a_body_that_is_too_large_is_413(api: Api, masks: str, size: int) -> None:
    token = api.session()
    body = b'{"pool":"' + b"x" * size + b'"}'
    headers = bearer(token) | {"Content-Type": "application/json"}
    try:
        answer = api.request("POST", claims_path(masks), content=body, headers=headers)
    except httpx2.TransportError:
        assert size > 1_000_000, "a body of 1 MB broke the connection instead of a 413"
    else:
        refused(answer, 413, None)
    assert api.mine(masks, token) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/claims"), ("PUT", "/claims"), ("PATCH", "/claims"), ("DELETE", "/claims"), ("POST", ""), ("DELETE", ""),
     ("POST", "/claims/mine"), ("PUT", "/claims/x"), ("BREW", "/claims")],
)  # fmt: skip
def test_a_wrong_method_is_405_with_allow(api: Api, masks: str, method: str, path: str) -> None:
    answer = api.request(method, f"/api/v1/campaigns/{masks}{path}", headers=bearer(api.session()))
    refused(answer, 405, None)
    assert answer.headers.get("allow"), f"405 without Allow\n{describe(answer)}"


def test_session_by_get_is_405(api: Api) -> None:
    answer = api.request("GET", "/api/v1/sessions")
    refused(answer, 405, None)
    assert "POST" in answer.headers.get("allow", "")


UNKNOWN = [
    "/", "/nothing", "/api", "/api/v1", "/api/v2/sessions", "/api/v1/campaigns", "/c/", "/c", "/.env",
    "/static/../../etc/passwd", "//",
]  # fmt: skip


@pytest.mark.parametrize("path", UNKNOWN)
def test_unknown_routes_are_404(api: Api, path: str) -> None:
    answer = api.request("GET", path)
    allowed = {200, 301, 302, 303, 307, 308, 404} if path in ("/", "//") else {301, 307, 308, 404}
    assert answer.status_code in allowed, describe(answer)
    if answer.status_code == 404 and path.startswith("/api"):
        refused(answer, 404, None)


def test_head_and_options_are_sane(api: Api, masks: str) -> None:
    for path in (f"/api/v1/campaigns/{masks}", f"/c/{masks}", "/livez"):
        head = api.request("HEAD", path)
        assert head.status_code in (200, 405), describe(head)
        assert head.content == b"", describe(head)
        options = api.request("OPTIONS", path)
        assert options.status_code in (200, 204, 405), describe(options)
        assert options.headers.get("access-control-allow-origin", "") not in ("*", "null"), describe(options)


def test_the_same_key_gets_the_same_answer(api: Api, masks: str) -> None:
    token = api.session()
    first = confirmed(api.claim(masks, token, key="one"))
    assert confirmed(api.claim(masks, token, key="one"), status=200) == first


def test_the_same_key_with_another_body_is_422(api: Api, masks: str) -> None:
    token = api.session()
    confirmed(api.claim(masks, token, "central", key="two"))
    for other in ("west", "elsewhere"):
        refused(api.claim(masks, token, other, key="two"), 422, "invalid")
    assert len(api.mine(masks, token)) == 1


def test_a_new_key_does_not_make_an_unknown_pool_known(api: Api, masks: str) -> None:
    token = api.session()
    refused(api.claim(masks, token, "elsewhere", key="three"), 409, "wrong_pool")
    assert confirmed(api.claim(masks, token, "central", key="three"))["pool"] == "central"


def test_the_same_key_of_two_people_does_not_mix_them(api: Api, masks: str) -> None:
    a, b = api.session(), api.session()
    first = confirmed(api.claim(masks, a, key="shared"))
    second = confirmed(api.claim(masks, b, key="shared"))
    assert first["id"] != second["id"], "one person got the claim of another"
    third = confirmed(api.claim(masks, api.session(), "west", key="shared"))
    assert third["pool"] == "west"


@pytest.mark.parametrize("key", ["", "x" * 256, "x" * 10_000, "tab\tinside"], ids=["empty", "256", "10000", "tab"])
def test_a_senseless_key_is_refused(api: Api, masks: str, key: str) -> None:
    token = api.session()
    assert refused(api.claim(masks, token, key=key), 400, "invalid")["reason"] == "bad_key"
    assert api.mine(masks, token) == []


def test_the_longest_key_counts(api: Api, masks: str) -> None:
    token, key = api.session(), "~" * 255
    first = confirmed(api.claim(masks, token, key=key))
    assert confirmed(api.claim(masks, token, key=key), status=200) == first
    refused(api.claim(masks, token, "west", key=key), 422, "invalid")


def test_cancelling_returns_the_unit_to_the_next_person(api: Api, fresh: str, ledger: Ledger) -> None:
    first, second, third = (api.session() for _ in range(3))
    claim = confirmed(api.claim(fresh, first))
    confirmed(api.claim(fresh, second))
    refused(api.claim(fresh, third), 409, "sold_out")
    answer = api.cancel(fresh, first, claim["id"])
    assert answer.status_code == 200, describe(answer)
    assert ledger.check(fresh)["central"].remaining == 1
    assert [c for c in api.mine(fresh, first) if c.get("status") != "cancelled"] == []
    eventually("the returned unit is claimed", lambda: api.claim(fresh, third).status_code == 201)
    assert ledger.check(fresh)["central"].remaining == 0


def test_cancelling_twice_returns_the_unit_once(api: Api, fresh: str, ledger: Ledger) -> None:
    token = api.session()
    claim = confirmed(api.claim(fresh, token))
    assert api.cancel(fresh, token, claim["id"]).status_code == 200
    again = api.cancel(fresh, token, claim["id"])
    assert again.status_code == 200, describe(again)
    assert (again.json()["outcome"], again.json()["claim"]["status"]) == ("cancelled", "cancelled")
    assert ledger.check(fresh)["central"].remaining == 2


def test_nobody_cancels_the_claim_of_another(api: Api, fresh: str, ledger: Ledger) -> None:
    owner, other = api.session(), api.session()
    claim = confirmed(api.claim(fresh, owner))
    foreign = refused(api.cancel(fresh, other, claim["id"]), 404, "not_found")
    unknown = refused(api.cancel(fresh, other, "A" * len(claim["id"])), 404, "not_found")
    assert unknown == foreign, "the answer tells whether a foreign claim exists"
    assert claim["id"] in ledger.confirmed(fresh)
    assert [c["id"] for c in api.mine(fresh, owner)] == [claim["id"]]


def test_a_claim_is_not_cancelled_through_another_campaign(api: Api, fresh: str, masks: str, ledger: Ledger) -> None:
    token = api.session()
    claim = confirmed(api.claim(fresh, token))
    refused(api.cancel(masks, token, claim["id"]), 404, "not_found")
    assert claim["id"] in ledger.confirmed(fresh)


def test_who_cancelled_may_claim_again(api: Api, fresh: str, ledger: Ledger) -> None:
    token = api.session()
    claim = confirmed(api.claim(fresh, token))
    assert api.cancel(fresh, token, claim["id"]).status_code == 200
    again = confirmed(api.claim(fresh, token))
    assert again["id"] != claim["id"], "a cancelled claim was revived"
    assert again["ordinal"] == 1
    assert {c["id"]: c["status"] for c in api.mine(fresh, token)} == {
        claim["id"]: "cancelled", again["id"]: "confirmed",
    }  # fmt: skip
    assert ledger.check(fresh)["central"].taken == 1
