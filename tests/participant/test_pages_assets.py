from __future__ import annotations

import gzip
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import headgate.participant.pages_assets as assets_module
from headgate.domain.campaign import Phase
from headgate.domain.public import PoolView
from headgate.participant.pages import Pages, build_assets
from tests.participant.pages_samples import sample_view

FIRST_VISIT_MAX = 30 * 1024
"""Bytes over the wire of the page and everything that it names, as promised."""
COMFORTABLE_MAX = 16 * 1024
"""What we keep to ourselves: a third more than today's weight would be a surprise."""


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_names_carry_the_hash_of_what_is_inside(tmp_path: Path) -> None:
    urls = build_assets(tmp_path / "new" / "assets")
    assert {"page.css", "page.js", "claim.js", "search.js", "waiting.js", "icon.svg"} == set(urls)
    for name, url in urls.items():
        stem, suffix = name.split(".")
        content = (tmp_path / "new" / "assets" / Path(url).name).read_bytes()
        assert url == f"/assets/{stem}.{hashlib.sha256(content).hexdigest()[:10]}.{suffix}"
        assert content == (Path(assets_module.__file__).parent / "static" / name).read_bytes()
    assert names_in(tmp_path / "new" / "assets") == sorted(Path(url).name for url in urls.values())


def test_everybody_may_read_them(tmp_path: Path) -> None:
    build_assets(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_new_content_has_a_new_name_and_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    static = tmp_path / "static"
    static.mkdir()
    monkeypatch.setattr(assets_module, "_STATIC", static)
    (static / "page.css").write_text("a{}")
    first = build_assets(tmp_path / "out")
    assert build_assets(tmp_path / "out") == first
    (static / "page.css").write_text("b{}")
    second = build_assets(tmp_path / "out")
    assert second != first
    assert len(names_in(tmp_path / "out")) == 2


def test_several_processes_may_write_them_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: build_assets(tmp_path), range(32)))
    assert all(urls == found[0] for urls in found)
    assert names_in(tmp_path) == sorted(Path(url).name for url in found[0].values())


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_source: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        build_assets(tmp_path)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("pools", [1, 30, 6588])
def test_a_first_visit_is_light(tmp_path: Path, language: str, pools: int) -> None:
    urls = build_assets(tmp_path)
    listed = [
        PoolView(f"01450800{n}", {"zh": f"衛生福利部花蓮醫院豐濱{n}號", "en": f"P{n}"}, "available")
        for n in range(pools)
    ]
    page = Pages(urls).campaign(sample_view(listed, phase=Phase.SCHEDULED), language=language)
    files = [tmp_path / Path(url).name for url in urls.values() if url.encode() in page]
    assert len(files) == (5 if pools > 30 else 4)
    squeezed = len(gzip.compress(page)) + sum(len(gzip.compress(path.read_bytes())) for path in files)
    plain_assets = len(gzip.compress(page)) + sum(path.stat().st_size for path in files)
    assert squeezed < COMFORTABLE_MAX
    # Also where whoever serves the files does not compress them.
    assert plain_assets < FIRST_VISIT_MAX


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it, of `#rgb` or `#rrggbb`."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def schemes() -> list[dict[str, str]]:
    """The colours of the light and of the dark scheme, by name."""
    css = (Path(assets_module.__file__).parent / "static" / "page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    found = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", block)) for block in blocks]
    assert len(found) == 2
    assert set(found[0]) == set(found[1])
    return found


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_apart(scheme: int) -> None:
    colours = schemes()[scheme]
    words = [
        ("ink", "ground"), ("ink", "card"), ("ink", "tint"), ("ink", "line"), ("soft", "ground"), ("soft", "card"),
        ("soft", "tint"), ("accent", "ground"), ("accent", "card"), ("accent", "tint"), ("on-accent", "accent"),
        ("bad", "bad-tint"), ("bad", "card"), ("wait", "wait-tint"),
    ]  # fmt: skip
    faint = {pair: round(contrast(*(colours[name] for name in pair)), 2) for pair in words}
    assert {pair: ratio for pair, ratio in faint.items() if ratio < 4.5} == {}
    edges = {pair: contrast(*(colours[name] for name in pair)) for pair in [("edge", "ground"), ("edge", "card")]}
    assert {pair: ratio for pair, ratio in edges.items() if ratio < 3} == {}


def test_contrast_is_computed_as_the_standard_says() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)
