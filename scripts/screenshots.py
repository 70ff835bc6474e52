"""Photographs the participant pages for the README: `.venv/bin/python -m scripts.screenshots`.

A real server, a real browser; the three moments of a reservation side by side.  Chinese needs a font
that has it (Debian: fonts-noto-cjk).
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.acceptance.product import Server, run_cli, served
from tests.browser.chromium import arguments, chromium

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
LEAD_S = 30
"""The pictures before the opening are taken within this; it opens at the full minute that follows."""
POOLS = {
    "central": ("Central pharmacy", "中心药房", 500),
    "north": ("North gate clinic", "北门诊所", 500),
    "harbour": ("Harbour street 12", "海港街12号", 0),
    "hill": ("Hill road library", "山路图书馆", 500),
    "station": ("Railway station, hall B", "火车站B厅", 500),
}


@dataclass(frozen=True)
class Picture:
    name: str
    language: str
    scheme: Literal["light", "dark"]
    width: int
    height: int
    reserve: str
    """What the button says, in the picture's language."""


PICTURES = (
    Picture("page-phone", "en", "light", 360, 700, "Reserve"),
    Picture("page-desktop", "zh", "dark", 680, 720, "立即预约"),
)


def create(server: Server) -> None:
    soon = datetime.now(timezone(timedelta(hours=8))) + timedelta(seconds=LEAD_S + 60)
    opens = soon.replace(second=0, microsecond=0)
    lines = [
        'slug = "masks"',
        'title = { en = "Free masks for everyone", zh = "免费口罩预约" }',
        f"opens_at = {opens.isoformat()}",
        f"closes_at = {(opens + timedelta(hours=3)).isoformat()}",
    ]
    for pool, (english, chinese, units) in POOLS.items():
        lines += ["[[pools]]", f'id = "{pool}"', f"units = {units}"]
        lines.append(f'label = {{ en = "{english}", zh = "{chinese}" }}')
    file = server.data.parent / "masks.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    run_cli("campaign", "create", file, data=server.data).ok()


@contextmanager
def opened(browser: Browser, server: Server, picture: Picture) -> Iterator[Page]:
    context = browser.new_context(
        base_url=server.url,
        viewport={"width": picture.width, "height": picture.height},
        color_scheme=picture.scheme,
        device_scale_factor=2,
    )
    yield context.new_page()
    context.close()


def beside_each_other(browser: Browser, picture: Picture, shots: list[bytes]) -> bytes:
    """One picture of several, which the browser itself lays out."""
    images = "".join(
        f'<img width="{picture.width}" src="data:image/png;base64,{base64.b64encode(shot).decode()}">' for shot in shots
    )
    style = "body{margin:0;display:inline-flex;gap:16px;padding:16px;background:#8a9a95}img{border-radius:16px}"
    page = browser.new_page(device_scale_factor=1 if picture.width > 400 else 2)
    page.set_content(f"<style>{style}</style><body>{images}</body>")
    shot = page.locator("body").screenshot()
    page.close()
    return shot


def photograph(browser: Browser, server: Server) -> None:
    with opened(browser, server, PICTURES[0]) as phone, opened(browser, server, PICTURES[1]) as desktop:
        pages = list(zip(PICTURES, (phone, desktop), strict=True))
        shots: dict[str, list[bytes]] = {picture.name: [] for picture in PICTURES}

        def shoot() -> None:
            for picture, page in pages:
                shots[picture.name].append(page.screenshot())

        for picture, page in pages:
            page.goto(f"/c/masks?lang={picture.language}")
            expect(page.get_by_role("timer")).to_be_visible()
        shoot()
        for picture, page in pages:
            button = page.get_by_role("button", name=picture.reserve)
            expect(button).to_be_visible(timeout=(LEAD_S + 75) * 1000)
            page.get_by_role("radio").nth(1).check()
        shoot()
        for picture, page in pages:
            page.get_by_role("button", name=picture.reserve).click()
            expect(page.locator("#result")).to_be_visible()
            page.evaluate("scrollTo(0, 0)")
        shoot()
    for picture in PICTURES:
        (IMAGES / f"{picture.name}.png").write_bytes(beside_each_other(browser, picture, shots[picture.name]))
        print(f"docs/images/{picture.name}.png")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, served(Path(directory) / "data") as server:
        create(server)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=arguments())
            photograph(browser, server)
            browser.close()


if __name__ == "__main__":
    main()
