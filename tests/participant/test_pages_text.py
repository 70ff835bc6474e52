from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import headgate.participant.pages as pages_module
from headgate.domain.outcome import Outcome
from headgate.participant.pages import SCRIPT_TEXTS, choose_language
from headgate.participant.pages_text import texts

PARTICIPANT = Path(pages_module.__file__).parent


@pytest.mark.parametrize(
    ("accept_language", "override", "chosen"),
    [
        (None, None, "en"),
        ("", None, "en"),
        ("zh", None, "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", None, "zh"),
        ("zh-Hant-TW", None, "zh"),
        ("ZH_tw", None, "zh"),
        ("en-GB, zh;q=0.9", None, "en"),
        ("en;q=0.4, zh;q=0.5", None, "zh"),
        ("fr, zh;q=0.3", None, "zh"),
        ("fr", None, "en"),
        ("zh;q=0", None, "en"),
        ("zh;q=nonsense, en", None, "en"),
        ("*", None, "en"),
        (",;=,,\x00 ;q", None, "en"),
        ("zh" * 100_000, None, "en"),
        ("en", "zh", "zh"),
        ("zh", "en", "en"),
        ("zh", "fr", "zh"),
        ("zh", "../en", "zh"),
    ],
)
def test_a_language_is_chosen(accept_language: str | None, override: str | None, chosen: str) -> None:
    assert choose_language(accept_language, override) == chosen


def test_both_languages_say_the_same_things_with_the_same_parts() -> None:
    def parts(language: str) -> dict[str, set[str]]:
        return {
            name: {field for _, field, _, _ in Formatter().parse(text) if field}
            for name, text in texts(language).items()
        }

    assert parts("en") == parts("zh")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_is_left_unsaid(language: str) -> None:
    assert [name for name, text in texts(language).items() if not text.strip()] == []
    told = {name.split(".")[1] for name in texts(language) if name.startswith("refusal.")}
    assert told == {str(outcome) for outcome in Outcome} - {"confirmed", "cancelled", "pending"} | {"unexpected"}


def test_chinese_is_chinese() -> None:
    same = [name for name, text in texts("zh").items() if not re.search(r"[\u4e00-\u9fff]", text)]
    assert same == ["page.html_lang", "page.moment"]


def test_the_scripts_find_every_text_that_they_ask_for() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (PARTICIPANT / "static").glob("*.js"))
    asked = set(re.findall(r'"((?:choose|countdown|reserve|result)\.[a-z_]+)"', source))
    assert asked == set(SCRIPT_TEXTS)


def test_every_text_is_used() -> None:
    sources = [*PARTICIPANT.glob("templates/*.html"), *PARTICIPANT.glob("pages*.py")]
    source = "".join(path.read_text(encoding="utf-8") for path in sources)
    # Families whose last part is a name of the domain.
    families = ("phase.", "lead.", "status.", "notice.", "refusal.")
    assert [name for name in texts("en") if name not in source and not name.startswith(families)] == []
