"""Rules of the house that no linter knows: sizes, names, and words that have no place in it."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
# Written so that this file does not hold the words itself.
NOTES_TO_SELF = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
# Files that others wrote, or that are made by a tool.
NOT_OURS = {"uv.lock", "LICENSE"}
VENDORED = re.compile(r"(?:^|/)(?:vendor|vendored)/")


def tracked_files() -> list[Path]:
    """Files that git knows or would add; outside a checkout (an unpacked archive) every file but the hidden ones."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        names = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        names = [path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.parts)]
    return [path for path in names if path.is_file()]


def source_modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def long_functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and length (lines) of each function above the maximum."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield node.name, length


def test_no_module_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in source_modules("src") + source_modules("tests")}
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES_MAX} == {}


def test_no_function_is_too_long() -> None:
    found = {path: list(long_functions(path.read_text())) for path in source_modules("src")}
    assert {path: functions for path, functions in found.items() if functions} == {}


def test_a_function_that_is_too_long_is_seen() -> None:
    body = "    pass\n" * FUNCTION_LINES_MAX
    assert list(long_functions(f"def long():\n{body}")) == [("long", FUNCTION_LINES_MAX + 1)]
    assert list(long_functions(f"def fits():\n{body.removeprefix('    pass' + chr(10))}")) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [
        path
        for path in tracked_files()
        if path.suffix == ".py"
        and VAGUE_NAMES & {part.lower() for part in path.relative_to(ROOT).with_suffix("").parts}
    ]
    assert vague == []


def test_no_notes_to_self() -> None:
    found = []
    for path in tracked_files():
        name = str(path.relative_to(ROOT))
        if name in NOT_OURS or VENDORED.search(name):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image or other binary
        found += [
            f"{name}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), 1)
            if NOTES_TO_SELF.search(line)
        ]
    assert found == []


@pytest.mark.parametrize("line", ["# TO" + "DO: later", "FIX" + "ME", "x = 1  # X" + "XX"])
def test_a_note_to_self_is_seen(line: str) -> None:
    assert NOTES_TO_SELF.search(line)


def test_the_locked_build_backend_is_the_one_that_pyproject_asks_for() -> None:
    (wanted,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert f"{wanted} \\" in (ROOT / "locks/build.txt").read_text().splitlines()
