"""A real server and a real browser; every page must stay free of script errors and policy violations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.acceptance.client import Api
from tests.acceptance.product import Server, eventually, opened, run_cli, served
from tests.browser.chromium import arguments, axe, chromium
from tests.browser.states import Visitor
from tests.shared_data import PHARMACY_COLUMNS, pharmacy_list

PHARMACIES = "pharmacies"
PATIENCE_MS = 45_000
"""How long a page may take to show something on a machine that does other things as well."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=arguments())
        yield running
        running.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("browser") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def api(server: Server) -> Iterator[Api]:
    with Api(server.url) as client:
        yield client


@pytest.fixture(scope="session")
def masks(server: Server, api: Api) -> str:
    """An open campaign of three pools that nobody can empty."""
    return opened(server, api, "masks", (("central", 100_000), ("west", 100_000), ("east", 100_000)))


@pytest.fixture(scope="session")
def pharmacies(server: Server, api: Api) -> str:
    """An open campaign of 6,588 real pharmacies, each with the stock that it had."""
    file = server.data.parent / f"{PHARMACIES}.toml"
    file.write_text(
        f'slug = "{PHARMACIES}"\ntitle = {{ en = "Adult masks", zh = "成人口罩" }}\n'
        "opens_at = 2020-03-03T00:00:00+08:00\ncloses_at = 2099-03-03T00:00:00+08:00\n",
        encoding="utf-8",
    )
    run_cli("campaign", "create", file, "--pools", pharmacy_list(), *PHARMACY_COLUMNS, data=server.data).ok()
    eventually("the pharmacies are open", lambda: api.phase(PHARMACIES) == "open")
    return PHARMACIES


@pytest.fixture(scope="session")
def axe_source() -> str:
    return axe()


@pytest.fixture
def visitor(browser: Browser, server: Server) -> Iterator[Visitor]:
    """Opens a page as somebody new: `visitor("/c/masks", locale="zh-CN", …)`; options are those of a browser context.

    `scripts` run before the page's own.  A script error, a violated policy or a dialog fails the test.
    """
    faults: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # Refusals are answers with a status of 4xx or 5xx, which the browser notes as failed resources.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            faults.append(message.text)

    def visit(path: str, *, scripts: tuple[str, ...] = (), **options: Any) -> Page:
        settings: dict[str, Any] = {"locale": "en-GB", "viewport": {"width": 360, "height": 740}} | options
        context: BrowserContext = browser.new_context(base_url=server.url, **settings)
        closing.callback(context.close)
        for script in scripts:
            context.add_init_script(script)
        page = context.new_page()
        closing.callback(page.unroute_all, behavior="ignoreErrors")
        page.on("console", listen)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"a dialog: {dialog.message}"))
        page.goto(path)
        return page

    with ExitStack() as closing:
        yield visit
    assert faults == []


@pytest.fixture
def slug(request: pytest.FixtureRequest) -> str:
    """A name for a campaign of one test alone."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower())
    return f"b-{name}"[:60].rstrip("-")
