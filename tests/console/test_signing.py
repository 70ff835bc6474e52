from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient

from headgate.console.sessions import FORM_COOKIE, SESSION_COOKIE, SESSION_TTL_S, ConsoleSessions
from headgate.services.operators import FAILURES_PER_ADDRESS, FAILURES_PER_NAME, WINDOW_S
from headgate.storage.sql.engine import open_engine, writing
from headgate.storage.sql.schema import operator
from tests.console.conftest import HOST, PASSWORD, SAME_ORIGIN, SECRET, Console, Ledger, console_on

PUBLIC_PATHS = {"/login", "/livez", "/readyz", "/metrics"}


@pytest.fixture
def sessions(ledger: Ledger) -> ConsoleSessions:
    return ConsoleSessions(SECRET, ledger.clock)


def change_account(ledger: Ledger, **values: str) -> None:
    engine = open_engine(ledger.path)
    with writing(engine).begin() as connection:
        connection.execute(sa.update(operator).values(**values))
    engine.dispose()


def set_cookies(console: Console, name: str, password: str, headers: dict[str, str]) -> dict[str, str]:
    """Attributes of the cookies that signing in sets, by name and in lower case."""
    answer = console.sign_in(name, password, headers)
    return {line.partition("=")[0]: line.lower() for line in answer.headers.get_list("set-cookie")}


def test_only_these_paths_answer_without_a_session(client: TestClient[Litestar], console: Console) -> None:
    for route in client.app.routes:
        path = route.path.replace("{slug:str}", "masks")
        if path in PUBLIC_PATHS or path.startswith("/static/"):
            continue
        if "GET" in route.methods:
            assert console.get(path).headers["location"] == "/login", path
        else:
            assert console.post(path, {}).status_code == 403, path
    assert {"/", "/logout", *PUBLIC_PATHS} < {route.path for route in client.app.routes}


def test_signing_in_opens_the_console(console: Console) -> None:
    assert not console.signed_in
    answer = console.sign_in(" mei ", PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert console.page("/").one("span", class_="who").text == "mei operator"
    assert console.get("/login").headers["location"] == "/"


def test_the_session_cookie_is_out_of_reach_for_scripts_and_other_sites(console: Console) -> None:
    cookie = set_cookies(console, "mei", PASSWORD, dict(SAME_ORIGIN))[SESSION_COOKIE]
    assert {"httponly", "samesite=strict", "path=/", f"max-age={SESSION_TTL_S}"} <= set(cookie.split("; "))
    assert "secure" not in cookie.split("; ")


def test_the_session_cookie_is_secure_where_the_browser_speaks_tls(console: Console) -> None:
    cookie = set_cookies(console, "mei", PASSWORD, {**SAME_ORIGIN, "x-forwarded-proto": "https"})[SESSION_COOKIE]
    assert "secure" in cookie.split("; ")


@pytest.mark.parametrize(("name", "password"), [("mei", "wrong"), ("nobody", PASSWORD), ("", ""), ("mei", "")])
def test_a_wrong_name_or_password_opens_nothing(console: Console, name: str, password: str) -> None:
    answer = console.sign_in(name, password)
    assert answer.status_code == 403
    assert "do not belong together" in answer.text
    assert console.cookie is None
    assert not console.signed_in


def test_an_unknown_name_gets_the_very_same_page(console: Console) -> None:
    unknown = console.sign_in("nobody", "wrong").text
    assert console.sign_in("mei", "wrong").text == unknown.replace("nobody", "mei")


@pytest.mark.parametrize("field", ["%ff", "%ed%a0%80", "%00", "a%0d%0ab", "%F0%9F%98%80" * 50])
def test_fields_that_are_no_text_are_refused_like_others(console: Console, field: str) -> None:
    token = console.form_token()
    body = f"token={token}&name={field}&password={field}"
    headers = {**SAME_ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    assert console.client.post("/login", content=body, headers=headers).status_code == 403


def test_fields_given_twice_or_not_at_all_are_refused_like_others(console: Console) -> None:
    token = console.form_token()
    headers = {**SAME_ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    for body in (f"token={token}", f"token={token}&name=mei&name=mei&password=x&password=y"):
        assert console.client.post("/login", content=body, headers=headers).status_code == 403


def test_tries_are_throttled_by_name_and_the_wait_is_told(console: Console, ledger: Ledger) -> None:
    for _ in range(FAILURES_PER_NAME):
        assert console.sign_in("mei", "wrong").status_code == 403
    ledger.clock.forward(10)
    answer = console.sign_in("mei", PASSWORD)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, str(WINDOW_S - 10))
    assert f"Wait {WINDOW_S - 10} seconds" in answer.text
    ledger.clock.forward(WINDOW_S - 10)
    assert console.sign_in("mei", PASSWORD).status_code == 303


def test_tries_are_throttled_by_address_and_a_strangers_header_changes_nothing(console: Console) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        assert console.sign_in(f"name{number}", "wrong").status_code == 403
    forged = {**SAME_ORIGIN, "x-forwarded-for": "203.0.113.9"}
    assert console.sign_in("mei", PASSWORD, forged).status_code == 429


@pytest.fixture
def behind_proxy(ledger: Ledger, run_dir: Path) -> Iterator[Console]:
    app = console_on(ledger, run_dir, trusted_proxies=["198.51.100.1"])

    async def from_proxy(scope: Any, receive: Any, send: Any) -> None:
        scope["client"] = ("198.51.100.1", 4711)
        await app(scope, receive, send)

    with TestClient(from_proxy, base_url=f"http://{HOST}") as opened:
        yield Console(opened)


def test_behind_a_trusted_proxy_its_clients_are_told_apart(behind_proxy: Console) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        headers = {**SAME_ORIGIN, "x-forwarded-for": "203.0.113.9"}
        assert behind_proxy.sign_in(f"name{number}", "wrong", headers).status_code == 403
    assert behind_proxy.sign_in("mei", PASSWORD, headers).status_code == 429
    headers = {**SAME_ORIGIN, "x-forwarded-for": "203.0.113.10"}
    assert behind_proxy.sign_in("mei", PASSWORD, headers).status_code == 303


def test_every_sign_in_gets_a_session_of_its_own(console: Console, sessions: ConsoleSessions) -> None:
    planted = sessions.mint(None)
    console.cookie = planted
    seen = {planted}
    for _ in range(3):
        console.client.cookies.delete(SESSION_COOKIE)
        console.sign_in("mei", PASSWORD)
        assert console.cookie is not None
        seen.add(console.cookie)
    assert len(seen) == 4


def test_a_session_of_nobody_opens_nothing(console: Console) -> None:
    console.form_token()
    console.cookie = console.client.cookies[FORM_COOKIE]
    assert not console.signed_in


def test_no_changed_byte_of_a_session_is_accepted(mei: Console, sessions: ConsoleSessions) -> None:
    token = mei.cookie or ""
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert sessions.check(token) is not None
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        assert sessions.check(urlsafe_b64encode(changed).decode().rstrip("=")) is None, position
    for length in range(len(token)):
        assert sessions.check(token[:length]) is None
    for forged in ("", "x", "=" * 40, token + "A", token * 9, token.replace("A", "é")):
        assert forged == token or sessions.check(forged) is None


def test_a_session_signed_with_another_key_opens_nothing(console: Console, ledger: Ledger) -> None:
    found = ledger.operators.find("mei")
    assert found is not None
    console.cookie = ConsoleSessions(b"t" * 32, ledger.clock).mint(found)
    assert not console.signed_in
    console.cookie = ConsoleSessions(SECRET, ledger.clock).mint(found)
    assert console.signed_in


def test_a_session_ends_after_eight_hours(mei: Console, ledger: Ledger) -> None:
    ledger.clock.forward(SESSION_TTL_S - 1)
    assert mei.signed_in
    ledger.clock.forward(1)
    assert not mei.signed_in


def test_a_new_password_ends_the_session_without_sending_anybody_in_circles(mei: Console, ledger: Ledger) -> None:
    change_account(ledger, password_hash="$argon2id$another")
    assert not mei.signed_in
    assert mei.get("/login").status_code == 200


def test_a_removed_account_ends_the_session(mei: Console, ledger: Ledger) -> None:
    change_account(ledger, name="somebody-else")
    assert not mei.signed_in


def test_a_changed_role_holds_at_once(mei: Console, ledger: Ledger) -> None:
    change_account(ledger, role="viewer")
    assert mei.page("/").one("span", class_="who").text == "mei viewer"


def test_signing_out_makes_the_session_worthless(mei: Console) -> None:
    stolen = mei.cookie or ""
    answer = mei.post("/logout", {"token": mei.form_token("/")})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert mei.cookie is None
    mei.cookie = stolen
    assert not mei.signed_in


def test_signing_out_needs_a_post(mei: Console) -> None:
    assert mei.get("/logout").status_code == 405
    assert mei.signed_in


FOREIGN = [
    {},
    {"origin": "null"},
    {"origin": "http://evil.test"},
    {"origin": f"http://{HOST}.evil.test"},
    {"origin": f"http://{HOST}:8001"},
    {"origin": HOST},
    {**SAME_ORIGIN, "sec-fetch-site": "cross-site"},
    {**SAME_ORIGIN, "sec-fetch-site": "same-site"},
    {**SAME_ORIGIN, "sec-fetch-site": "none"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_form_from_elsewhere_does_nothing(mei: Console, headers: dict[str, str]) -> None:
    token = mei.form_token("/")
    assert mei.post("/logout", {"token": token}, headers).status_code == 403
    assert mei.signed_in
    mei.client.cookies.delete(SESSION_COOKIE)
    assert mei.sign_in("mei", PASSWORD, headers).status_code == 403
    assert mei.cookie is None


def test_a_browser_that_tells_the_fetch_site_needs_no_origin(console: Console) -> None:
    headers = {"origin": "null", "sec-fetch-site": "same-origin"}
    assert console.sign_in("mei", PASSWORD, headers).status_code == 303


def test_a_form_without_its_sessions_token_does_nothing(mei: Console, sessions: ConsoleSessions) -> None:
    foreign = sessions.check(sessions.mint(None))
    assert foreign is not None
    for form in ({}, {"token": ""}, {"token": "0" * 32}, {"token": "é"}, {"token": sessions.form_token(foreign)}):
        assert mei.post("/logout", form).status_code == 403
        assert mei.post("/login", {**form, "name": "mei", "password": PASSWORD}).status_code == 403
    assert mei.signed_in


def test_a_token_counts_only_in_a_plain_form(mei: Console) -> None:
    token = mei.form_token("/")
    multipart = mei.client.post("/logout", files={"token": (None, token)}, headers=SAME_ORIGIN)
    as_json = mei.client.post("/logout", json={"token": token}, headers=SAME_ORIGIN)
    in_query = mei.client.post(f"/logout?token={token}", headers=SAME_ORIGIN)
    assert [answer.status_code for answer in (multipart, as_json, in_query)] == [403, 403, 403]
    assert mei.signed_in


def test_the_form_of_another_tab_stays_good(console: Console) -> None:
    first = console.form_token()
    assert console.form_token() == first


def test_a_large_body_is_refused_before_it_is_read(console: Console) -> None:
    answer = console.post("/login", {"token": console.form_token(), "name": "a" * 20_000, "password": "b"})
    assert answer.status_code == 413


def test_without_any_account_the_page_says_how_to_make_one(console: Console, ledger: Ledger) -> None:
    command = "headgate operator add NAME --role admin"
    assert command not in console.get("/login").text
    engine = open_engine(ledger.path)
    with writing(engine).begin() as connection:
        connection.execute(sa.delete(operator))
    engine.dispose()
    assert command in console.get("/login").text


def test_ended_sessions_take_bounded_memory(
    sessions: ConsoleSessions, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.console.sessions.ENDED_MAX", 3)
    found = ledger.operators.find("mei")
    tokens = [sessions.mint(found) for _ in range(5)]
    for token in tokens:
        session = sessions.check(token)
        assert session is not None
        sessions.end(session)
    assert [sessions.check(token) is None for token in tokens[-3:]] == [True] * 3
    assert len(sessions._ended) == 3
    ledger.clock.forward(SESSION_TTL_S)
    fresh = sessions.check(sessions.mint(found))
    assert fresh is not None
    sessions.end(fresh)
    assert list(sessions._ended) == [fresh.id]
