"""Campaign files with many things wrong: all of them are said at once, with the value and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.services.definitions import Columns, DefinitionError, read_definition

GOOD = """
slug = "masks"
title = { en = "Masks" }
opens_at = 2030-01-01T00:00:00Z
closes_at = 2030-01-02T00:00:00Z
"""


def said(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "c.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DefinitionError) as found:
        read_definition(file)
    return str(found.value).replace(f"{file}: ", "").split("\n")


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = 'slug = 3\ntitel = "x"\nopens_at = "soon"\nper_person = "two"\n'
    text += '[[pools]]\nid = "a"\nunits = "many"\n[[pools]]\nunits = 3\n'
    found = said(tmp_path, text)
    for line, (begins, example) in zip(
        found,
        [
            ("there is no 'titel' in a campaign; known are slug, title", "pools"),
            ("slug is 3: ", 'slug = "masks"'),
            ("title is missing", "title = { en ="),
            ("opens_at is 'soon': ", "opens_at = 2026"),
            ("closes_at is missing", "closes_at = 2026"),
            ("per_person is 'two': ", "per_person = 1"),
            ("pool 1.units is 'many': ", "units = 500"),
            ("pool 2 is {'units': 3}: ", 'id = "central"'),
        ],
        strict=True,
    ):
        assert line.startswith(begins), line
        assert example in line, line


@pytest.mark.parametrize("value", ['"later"', '"Queued"', '""', "1", "true", "[]"])
def test_a_mode_that_there_is_not_is_named_with_one_that_there_is(tmp_path: Path, value: str) -> None:
    (line,) = said(tmp_path, f'{GOOD}mode = {value}\n[[pools]]\nid = "a"\nunits = 1\n')
    shown = value.replace('"', "'").replace("true", "True")
    assert line.startswith(f"mode is {shown}: "), line
    assert line.endswith('; write for example mode = "queued"'), line


@pytest.mark.parametrize(("written", "mode"), [("", "immediate"), ('mode = "immediate"', "immediate"),
                                               ('mode = "queued"', "queued")])  # fmt: skip
def test_requests_are_decided_at_once_unless_the_file_says_that_they_wait(
    tmp_path: Path, written: str, mode: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'{GOOD}{written}\n[[pools]]\nid = "a"\nunits = 1\n', encoding="utf-8")
    assert read_definition(file).mode == mode


@pytest.mark.parametrize("text", ["x = " + "[" * 20_000, "x = " + "9" * 6_000, "x = "], ids=["deep", "long", "broken"])
def test_what_the_parser_cannot_take_is_no_traceback(tmp_path: Path, text: str) -> None:
    (line,) = said(tmp_path, text)
    assert line.startswith("no valid TOML")
    assert line.endswith("correct that line")


@pytest.mark.parametrize("mark", ["\u202e", "\u2066", "\x85", "\x7f"])
def test_marks_that_make_a_title_say_something_else_are_refused(tmp_path: Path, mark: str) -> None:
    text = GOOD.replace("Masks", f"Free{mark} masks") + '[[pools]]\nid = "a"\nunits = 1\n'
    if mark == "\x7f":
        (line,) = said(tmp_path, text)
        assert "no valid TOML" in line
    else:
        (line,) = said(tmp_path, text)
        assert "title.en holds a control character" in line


def test_a_column_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    file, pools = tmp_path / "c.toml", tmp_path / "pools.csv"
    file.write_text(GOOD)
    pools.write_text("id,id,units\na,b,1\n")
    with pytest.raises(DefinitionError, match="line 1: 'id' names more than one column"):
        read_definition(file, pools, Columns("id", "units"))
