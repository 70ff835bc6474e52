"""The judge as a command: what it prints, its exit codes, and what it refuses to judge by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headgate.lab.judge import WrongUse, judge
from tests.lab.fair_scenes import rush
from tests.lab.scenes import SLUG, Scene

Ran = subprocess.CompletedProcess[str]


def run(*arguments: str | Path, ledger: str | None = None) -> Ran:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
    if ledger is not None:
        environment["HEADGATE_LEDGER__URL"] = ledger
    return subprocess.run(
        [sys.executable, "-m", "headgate.lab.judge", *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def refused(ran: Ran, *named: str) -> None:
    assert (ran.returncode, ran.stdout) == (2, ""), ran
    assert "Traceback" not in ran.stderr
    for word in named:
        assert word in ran.stderr


@pytest.fixture
def honest(tmp_path: Path) -> tuple[Path, str]:
    """(log, ledger URL) of a run without a fault."""
    paths, url = rush().write(tmp_path)
    return paths[0], url


def test_nothing_found(honest: tuple[Path, str]) -> None:
    log, url = honest
    ran = run("--log", log, "--campaign", SLUG, ledger=url)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "every rule was kept" in ran.stdout
    assert "refusals: limit_reached 1, not_open 1, overloaded 1, sold_out 4, unknown 1" in ran.stdout


def test_something_found(tmp_path: Path) -> None:
    scene = rush()
    scene.pool("north")["remaining"] += 1
    paths, url = scene.write(tmp_path, logs=2)
    ran = run(*(word for path in paths for word in ("--log", path)), "--campaign", SLUG, ledger=url)
    assert ran.returncode == 1
    assert "I5 stock_and_claims_add_up: 1" in ran.stdout
    assert "pool north: capacity 3, remaining 1, 3 live claims counted" in ran.stdout
    assert ran.stdout.endswith("broken: I5\n")


def test_json_and_a_file_with_the_url(honest: tuple[Path, str], tmp_path: Path) -> None:
    log, url = honest
    file = tmp_path / "url.txt"
    file.write_text(f"{url}\n")
    ran = run("--log", log, "--campaign", SLUG, "--ledger-file", file, "--json", ledger="sqlite:////not/this/one")
    assert ran.returncode == 0, ran.stderr
    verdict: dict[str, Any] = json.loads(ran.stdout)
    assert (verdict["campaign"], verdict["violations"]) == (SLUG, [])
    assert verdict["counts"]["confirmed"] == 5


GOOD: dict[str, Any] = {
    "person": "a", "request": "claim", "pool": "north", "key": None, "claim": None, "sent": 1.0, "answered": 2.0,
    "status": 409, "outcome": "sold_out", "claims": [],
}  # fmt: skip
TOLD = {"id": "id1", "code": "C", "pool": "north", "ordinal": 1}
MALFORMED: dict[str, str] = {
    "cut off": json.dumps(GOOD)[:40],
    "empty": "",
    "no JSON": "person,request",
    "no object": "[1]",
    "no UTF-8": '{"person": "\udcff"}',
    "a number for a person": json.dumps(GOOD | {"person": 17}),
    "a request that is none": json.dumps(GOOD | {"request": "steal"}),
    "a text for a time": json.dumps(GOOD | {"sent": "1"}),
    "a time before all times": json.dumps(GOOD | {"sent": -1}),
    "a status that is none": json.dumps(GOOD | {"status": 0}),
    "a text for a status": json.dumps(GOOD | {"status": "409"}),
    "no time of the answer": json.dumps(GOOD | {"answered": None}),
    "answered too early": json.dumps(GOOD | {"answered": 0.5}),
    "a cancellation of nothing": json.dumps(GOOD | {"request": "cancel"}),
    "no person": json.dumps({name: value for name, value in GOOD.items() if name != "person"}),
    "a claim without a code": json.dumps(GOOD | {"claims": [{"id": "id1", "pool": "north", "ordinal": 1}]}),
    "an ordinal that is none": json.dumps(GOOD | {"claims": [TOLD | {"ordinal": "first"}]}),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_line_is_named(honest: tuple[Path, str], tmp_path: Path, what: str) -> None:
    log, url = honest
    bad = tmp_path / "bad.jsonl"
    lines = [json.dumps(GOOD), MALFORMED[what], json.dumps(GOOD), ""]
    bad.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(WrongUse, match=f"{bad}:2: "):
        judge([log, bad], url, SLUG)


def test_a_malformed_line_ends_the_command(honest: tuple[Path, str], tmp_path: Path) -> None:
    log, url = honest
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"person": "a", "request": "claim"\n')
    refused(run("--log", log, "--log", bad, "--campaign", SLUG, ledger=url), f"{bad}:1:", '{"person": "a"')


def test_missing_things_are_named(honest: tuple[Path, str], tmp_path: Path) -> None:
    log, url = honest
    refused(run("--log", tmp_path / "none.jsonl", "--campaign", SLUG, ledger=url), "none.jsonl", "No such file")
    refused(run("--log", log, "--campaign", "nothing", ledger=url), "'nothing'", f"it has: {SLUG}")
    refused(run("--log", log, "--campaign", SLUG), "--ledger-file", "HEADGATE_LEDGER__URL")
    refused(run("--log", log, "--campaign", SLUG, "--ledger-file", tmp_path / "no.txt"), "no.txt")
    refused(run("--campaign", SLUG, ledger=url), "--log")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("sqlite:////nowhere/ledger.db", "/nowhere/ledger.db"),
        ("oracle://user:secret@host/db", "not with oracle"),
        ("postgresql+psycopg://user:secret@host:port/db", "cannot be read"),
        ("postgresql+psycopg://user:secret@127.0.0.1:1/db", "could not be read"),
        ("mysql+pymysql://user:secret@127.0.0.1:1/db", "could not be read"),
        ("secret", "cannot be read"),
    ],
)
def test_a_ledger_that_cannot_be_read_is_named_without_its_password(
    honest: tuple[Path, str], url: str, named: str
) -> None:
    with pytest.raises(WrongUse, match=named) as caught:
        judge([honest[0]], url, SLUG)
    assert "secret" not in str(caught.value)


def test_no_ledger_is_made_and_no_table_missing_unnoticed(honest: tuple[Path, str], tmp_path: Path) -> None:
    log, _ = honest
    other = tmp_path / "other.db"
    with pytest.raises(WrongUse, match="no ledger at"):
        judge([log], f"sqlite:///{other}", SLUG)
    assert not other.exists()
    other.touch()
    with pytest.raises(WrongUse, match="no such table"):
        judge([log], f"sqlite:///{other}", SLUG)


def test_a_log_without_requests_or_named_twice_is_refused(honest: tuple[Path, str], tmp_path: Path) -> None:
    log, url = honest
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(WrongUse, match="no request was logged"):
        judge([empty], url, SLUG)
    assert judge([log, empty], url, SLUG).ok
    with pytest.raises(WrongUse, match="named twice"):
        judge([log, log], url, SLUG)


def test_another_kind_of_campaign_is_refused(tmp_path: Path) -> None:
    scene = Scene({"north": 1})
    scene.campaign["kind"] = "draw"
    scene.mine("a", 1)
    with pytest.raises(WrongUse, match="'draw': only first_come"):
        scene.verdict(tmp_path)
