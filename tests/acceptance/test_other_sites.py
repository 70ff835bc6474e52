"""What a page of another site can do with a visitor's browser, which keeps the cookie back from such requests."""

from __future__ import annotations

import pytest

from tests.acceptance.client import Api, refused
from tests.acceptance.product import Server, opened

FOREIGN = ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"})


@pytest.mark.parametrize("headers", FOREIGN, ids=["fetch metadata", "origin"])
def test_another_site_cannot_replace_a_session(api: Api, masks: str, headers: dict[str, str]) -> None:
    session = api.request("POST", "/api/v1/sessions", headers=headers)
    refused(session, 403, "refused")
    form = api.request("POST", f"/c/{masks}", data={"pool": "central"}, headers=headers)
    assert form.status_code == 403
    for answer in (session, form):
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/api/v1/sessions", "form"])
@pytest.mark.parametrize(("proto", "secure"), [("https", True), ("http", False), (None, False)])
def test_behind_a_proxy_with_tls_the_cookie_is_secure(
    api: Api, masks: str, path: str, proto: str | None, *, secure: bool
) -> None:
    headers = {"X-Forwarded-Proto": proto} if proto else {}
    if path == "form":
        answer = api.request("POST", f"/c/{masks}", data={"pool": "central"}, headers=headers)
    else:
        answer = api.request("POST", path, headers=headers)
    assert ("; Secure" in answer.headers["set-cookie"]) is secure


def test_a_form_can_claim_again_what_was_cancelled(server: Server, api: Api) -> None:
    slug = opened(server, api, "again", (("central", 10),), per_person=2)
    token = api.session()
    headers = {"Cookie": f"hg_session={token}"}

    def click() -> None:
        answer = api.request("POST", f"/c/{slug}", data={"pool": "central"}, headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/c/{slug}/mine?notice=confirmed")

    def live() -> list[str]:
        return [claim["id"] for claim in api.mine(slug, token) if claim["status"] == "confirmed"]

    for _ in range(3):
        click()
        click()
        (held,) = live()
        answer = api.request("POST", f"/c/{slug}/cancel", data={"claim": held}, headers=headers)
        assert answer.status_code == 303
        assert live() == []
