"""Sessions and tokens: who is who, who is nobody, and what another site may not do."""

from __future__ import annotations

import random
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from tests.acceptance.client import Api, bearer, claims_path, confirmed, describe, refused
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, create_campaign, opened, rehearsal_tokens


def test_a_session_sets_a_protected_cookie(api: Api) -> None:
    answer = api.request("POST", "/api/v1/sessions")
    assert answer.status_code == 201, describe(answer)
    cookie = SimpleCookie(answer.headers["set-cookie"])["hg_session"]
    assert cookie.value, describe(answer)
    assert cookie["httponly"], f"HttpOnly is missing: {answer.headers['set-cookie']}"
    assert cookie["samesite"].lower() in {"lax", "strict"}, f"SameSite is missing: {answer.headers['set-cookie']}"
    assert "no-store" in answer.headers.get("cache-control", ""), describe(answer)


def test_a_session_shows_its_token_only_when_asked_for(api: Api) -> None:
    asked = api.request("POST", "/api/v1/sessions", headers={"Accept": "application/json"})
    assert asked.json()["token"]
    for accept in ("text/html", "*/*", "text/html,application/xhtml+xml;q=0.9"):
        answer = api.request("POST", "/api/v1/sessions", headers={"Accept": accept})
        assert answer.status_code == 201, describe(answer)
        assert b"token" not in answer.content, f"Accept: {accept}\n{describe(answer)}"


def test_a_session_with_a_cookie_never_shows_a_token(api: Api) -> None:
    cookie = {"Cookie": f"hg_session={api.session()}", "Accept": "application/json"}
    answer = api.request("POST", "/api/v1/sessions", headers=cookie)
    assert answer.status_code in (200, 201), describe(answer)
    assert b"token" not in answer.content, f"a script could read another's cookie out\n{describe(answer)}"


def test_a_made_up_cookie_does_not_become_a_session(api: Api) -> None:
    answer = api.request("POST", "/api/v1/sessions", headers={"Cookie": "hg_session=chosen-by-an-attacker"})
    assert answer.status_code in (201, 400, 401), describe(answer)
    if "set-cookie" in answer.headers:
        assert SimpleCookie(answer.headers["set-cookie"])["hg_session"].value != "chosen-by-an-attacker"


def test_the_cookie_and_the_bearer_token_are_the_same_person(api: Api, masks: str) -> None:
    token = api.session()
    by_cookie = api.request(
        "POST", claims_path(masks), json={"pool": "central"}, headers={"Cookie": f"hg_session={token}"}
    )
    claim = confirmed(by_cookie)
    assert confirmed(api.claim(masks, token), status=200)["id"] == claim["id"]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_name_of_the_scheme_is_read_in_any_case(api: Api, masks: str, scheme: str) -> None:
    answer = api.request("GET", f"{claims_path(masks)}/mine", headers={"Authorization": f"{scheme} {api.session()}"})
    assert answer.status_code == 200, f"RFC 9110: the scheme is case-insensitive\n{describe(answer)}"


def test_two_sessions_are_two_people(api: Api, masks: str) -> None:
    ids = {confirmed(api.claim(masks, api.session()))["id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_a_foreign_origin_cannot_claim_with_the_cookie(api: Api, masks: str, accept: str) -> None:
    token = api.session()
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Accept": accept}
    cookie = {"Cookie": f"hg_session={token}"}
    refused(api.request("POST", claims_path(masks), json={"pool": "central"}, headers=foreign | cookie), 403, "refused")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    api.request("POST", claims_path(masks), content=b"pool=central", headers=foreign | cookie | form)
    assert api.mine(masks, token) == [], "another site made the claim"


def test_an_unverified_session_is_refused_where_a_phone_is_asked_for(server: Server, api: Api) -> None:
    slug = opened(server, api, "verified", (("central", 5),), verification="phone")
    refused(api.claim(slug, api.session()), 403, "not_verified")
    assert Ledger(server.data).claims(slug) == []


def test_rehearsal_tokens_are_verified_people_of_their_rehearsal(server: Server, api: Api, masks: str) -> None:
    slug = opened(server, api, "practice", (("central", 5),), verification="phone", rehearsal=True)
    tokens = rehearsal_tokens(server.data, slug, 3)
    ids = {confirmed(api.claim(slug, token))["id"] for token in tokens}
    assert len(ids) == 3
    answer = api.claim(masks, tokens[0])
    assert answer.status_code in (401, 403), f"a rehearsal token works in a real campaign\n{describe(answer)}"
    refused(answer, answer.status_code, {"no_session", "refused", "not_eligible", "not_verified"})
    answer = api.request("GET", f"{claims_path(masks)}/mine", headers=bearer(tokens[0]))
    assert answer.status_code in (200, 401, 403), describe(answer)
    assert answer.json().get("claims", []) == [], describe(answer)


def test_a_token_of_another_installation_is_no_session(server: Server, api: Api, tmp_path: Path) -> None:
    """Both have a rehearsal of the same name, but each has its own secret."""
    slug = opened(server, api, "twin", (("central", 5),), rehearsal=True)
    elsewhere = tmp_path / "data"
    create_campaign(elsewhere, slug, rehearsal=True)
    refused(api.claim(slug, rehearsal_tokens(elsewhere, slug, 1)[0]), 401, "no_session")
    confirmed(api.claim(slug, rehearsal_tokens(server.data, slug, 1)[0]))


def tampered(token: str) -> list[str]:
    """The token with single characters changed, cut, doubled, re-ordered and re-cased."""
    dice = random.Random(20261201)
    places = sorted(dice.sample(range(len(token) - 2), min(24, len(token) - 2)))
    variants = [token[:p] + ("A" if token[p] != "A" else "B") + token[p + 1 :] for p in places]
    parts = token.split(".")
    variants += [token[:-4], token[4:], token + token, token.swapcase(), ".".join(reversed(parts)) + "x", token + "."]
    variants += [".".join([*parts[:-1], ""]), "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "null", "undefined", "0", "é"]
    return variants


def test_a_broken_token_is_no_session(api: Api, masks: str) -> None:
    good = api.session()
    for token in tampered(good):
        raw = {"Authorization": f"Bearer {token}".strip().encode()}
        refused(api.request("POST", claims_path(masks), json={"pool": "central"}, headers=raw), 401, "no_session")
        cookie = {"Cookie": f"hg_session={token}".encode()}
        refused(api.request("GET", f"{claims_path(masks)}/mine", headers=cookie), 401, "no_session")
    for scheme in ("Basic", "Token"):
        other = {"Authorization": f"{scheme} {good}"}
        refused(api.request("POST", claims_path(masks), json={"pool": "central"}, headers=other), 401, "no_session")
