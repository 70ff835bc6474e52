"""What visitors do, and answers that a server gives under stress, put between the page and the real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import Page, Route

from tests.acceptance.product import eventually

Visitor = Callable[..., Page]
"""Opens a page as somebody new; see the fixture `visitor`."""

CODE = re.compile(r"^[0-9A-Z]{6}-[0-9A-Z]{6}$")
"""What a claim is shown at the counter with."""

IN_A_HURRY = """
  const set = setTimeout, clear = clearTimeout;
  window.waits = [];
  window.pending = new Map();
  window.setTimeout = (action, ms) => {
    const id = set(() => { pending.delete(id); action(); }, ms / 50);
    pending.set(id, ms);
    waits.push(ms);
    return id;
  };
  window.clearTimeout = id => { pending.delete(id); clear(id); };
"""
"""Fifty times less waiting; `waits` holds every wait that was asked for (ms), `pending` those that are not over."""

EVEN_CHANCE = "Math.random = () => 0.5;"

LOST = "lost"
"""The request arrives and is answered, but the answer never comes back."""


def reserve(page: Page, place: str) -> None:
    page.get_by_role("radio", name=place).check()
    page.get_by_role("button", name="Reserve").click()


def happens(page: Page, what: str, probe: Callable[[], object]) -> None:
    """Waits until `probe` gives something true, while what the page does goes on reaching its listeners."""

    def looked() -> object:
        page.wait_for_timeout(10)
        return probe()

    eventually(what, looked)


def refusal(
    outcome: str, status: int, *, retry_after_s: int | None = None, reason: str | None = None
) -> dict[str, Any]:
    """Arguments of `Route.fulfill` for one refusal."""
    body = {"type": "about:blank", "title": outcome, "status": status, "outcome": outcome, "reason": reason}
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    return {
        "status": status,
        "headers": headers | {"content-type": "application/problem+json"},
        "body": json.dumps(body),
    }


class Stage:
    """Time in the hands of a test: what the page's own clock says, and what the state answers of a server say.

    The answers are those of the real server but for their times: the campaign opens `opens_in_s` and
    closes `closes_in_s` seconds (of this time) after the page began, and its phase is told as `phase` throughout,
    as a cache would that is late.  To be made before the page is opened.
    """

    _START_MS = 4_000_000_000_000

    def __init__(self, page: Page, slug: str, *, phase: str, opens_in_s: float, closes_in_s: float) -> None:
        self._page = page
        self._passed_ms = 0
        self._changes = {
            "phase": phase,
            "opens_at": self._iso(opens_in_s * 1000),
            "closes_at": self._iso(closes_in_s * 1000),
        }
        self._state = page.request.get(f"/api/v1/campaigns/{slug}").json()
        page.add_init_script("window.passed = 1000; performance.now = () => window.passed;")
        page.route(f"**/api/v1/campaigns/{slug}", self._answer)

    def _iso(self, after_ms: float) -> str:
        return datetime.fromtimestamp((self._START_MS + after_ms) / 1000, UTC).isoformat(timespec="milliseconds")

    def _answer(self, route: Route) -> None:
        route.fulfill(json=self._state | self._changes | {"server_time": self._iso(self._passed_ms)})

    def passes(self, seconds: float) -> None:
        self._passed_ms += int(seconds * 1000)
        self._page.evaluate("ms => { window.passed = 1000 + ms; }", self._passed_ms)


class Claims:
    """Every request for a claim that a page makes: first the `answers`, one each, then the real server's."""

    def __init__(self, page: Page, answers: Iterable[dict[str, Any] | str] = ()) -> None:
        self.keys: list[str | None] = []
        self._answers = iter(answers)
        page.route("**/claims", self._answer)

    def _answer(self, route: Route) -> None:
        self.keys.append(route.request.headers.get("idempotency-key"))
        answer = next(self._answers, None)
        if answer is None:
            route.continue_()
        elif answer == LOST:
            route.fetch()
            route.abort("connectionreset")
        else:
            assert isinstance(answer, dict)
            route.fulfill(**answer)


def requests_to(page: Page, part: str) -> list[str]:
    """A list that grows with the address of every request whose path holds `part`."""
    found: list[str] = []
    page.on("request", lambda request: found.append(request.url) if part in request.url else None)
    return found
