"""Output that goes nowhere, terminals that cannot show it, and files that cannot be made: a message, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.product import create_campaign, environment, headgate_command, run_cli


@pytest.fixture
def masks(data: Path) -> Path:
    create_campaign(data, "masks")
    return data


@pytest.mark.parametrize(
    "words",
    [
        ("campaign", "list", "--json"), ("campaign", "results", "masks"), ("audit", "masks"), ("doctor", "--json"),
        ("operator", "add", "mei", "--role", "viewer"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_full_disk_under_standard_output_is_said(masks: Path, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [str(headgate_command()), *words, "--data", str(masks)],
            env=environment(), stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip
    said = ran.stderr.decode()
    assert ran.returncode == 1
    assert "the output cannot be written (No space left on device)" in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_a_terminal_without_unicode_shows_the_letters_numbers(masks: Path) -> None:
    ran = run_cli("campaign", "show", "masks", data=masks, settings={"PYTHONIOENCODING": "ascii"}).ok()
    assert "\\u514d" in ran.out


def test_a_key_that_cannot_be_made_is_named(masks: Path, tmp_path: Path) -> None:
    place = tmp_path / "not" / "there" / "secret.key"
    run_cli("serve", "--plane", "keeper", data=masks, settings={"HEADGATE_SECRET_FILE": str(place)}).failed(str(place))


def test_a_new_ledger_is_its_owners_alone(masks: Path) -> None:
    assert (masks / "ledger.db").stat().st_mode & 0o077 == 0
    assert not list(masks.glob(".ledger*"))


@pytest.mark.parametrize("damage", ["empty", "a table is gone"])
def test_a_ledger_that_lost_something_is_refused_at_start(masks: Path, damage: str) -> None:
    import sqlite3

    if damage == "empty":
        (masks / "ledger.db").write_bytes(b"")
    else:
        with sqlite3.connect(masks / "ledger.db") as file:
            file.execute("DROP TABLE lease")
    named = "is empty" if damage == "empty" else "no table 'lease'"
    run_cli("serve", "--plane", "keeper", data=masks).failed(named)


def test_what_a_command_prints_is_all_that_standard_output_has(masks: Path) -> None:
    """Also where every statement is slow, as on a ledger of millions of claims."""
    slow = "from headgate.storage.sql import slowness; slowness.SLOW_S = 0.0; from headgate.cli import main; main()"
    words = ["audit", "masks", "--json", "--data", str(masks)]
    ran = subprocess.run([sys.executable, "-c", slow, *words], check=True, capture_output=True, env=environment())
    assert json.loads(ran.stdout)["ok"]
    assert ran.stderr == b""
