from __future__ import annotations

import io
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headgate.bootstrap import ledger
from headgate.cli.operator import app
from headgate.cli.options import CommandError
from headgate.console.sessions import fingerprint
from headgate.ports.operators import Operator
from headgate.settings import Settings
from tests.console.conftest import PASSWORD


def run(data: Path, *words: str) -> None:
    app([*words, "--data", str(data)], exit_on_error=False, print_error=False, result_action="return_value")


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def can_sign_in(data: Path, name: str, password: str) -> bool:
    with ledger.open_operators(Settings(data_dir=str(data))) as operators:
        return isinstance(operators.sign_in(name, password, "test"), Operator)


def test_the_generated_password_is_all_that_standard_output_holds(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, "add", "mei", "--role", "operator")
    out = capsys.readouterr().out
    assert re.fullmatch(r"([0-9a-z]{4}-){4}[0-9a-z]{4}\n", out)
    assert can_sign_in(data, "mei", out.strip())


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\nand more\n"])
def test_a_password_comes_from_the_first_line_of_standard_input(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ending: bytes
) -> None:
    give(monkeypatch, PASSWORD.encode() + ending)
    run(data, "add", "mei", "--role", "viewer", "--password-stdin")
    said = capsys.readouterr()
    assert PASSWORD not in said.out + said.err
    assert can_sign_in(data, "mei", PASSWORD)


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"\xff" * 20, b"x" * 5000])
def test_a_password_that_cannot_be_used_adds_nobody(
    data: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    give(monkeypatch, content)
    with pytest.raises(CommandError):
        run(data, "add", "mei", "--role", "viewer", "--password-stdin")
    with ledger.open_operators(Settings(data_dir=str(data)), create=True) as operators:
        assert operators.count() == 0


def test_a_name_that_is_taken_or_unusable_is_named(data: Path) -> None:
    run(data, "add", "mei", "--role", "operator")
    for name in ("mei", "Mei!"):
        with pytest.raises(CommandError, match=re.escape(repr(name))):
            run(data, "add", name, "--role", "operator")


def test_accounts_are_listed_without_their_hashes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(data, "list")
    assert "headgate operator add" in capsys.readouterr().err
    for name, role in (("zoe", "viewer"), ("ada", "admin")):
        run(data, "add", name, "--role", role)
    capsys.readouterr()
    run(data, "list", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["role"]) for row in rows] == [("ada", "admin"), ("zoe", "viewer")]
    run(data, "list")
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines()] == [["ada", "admin"], ["zoe", "viewer"]]
    assert "argon2" not in out + json.dumps(rows)


def test_the_audit_trail_names_who_ran_the_command(data: Path) -> None:
    run(data, "add", "mei", "--role", "operator")
    with closing(sqlite3.connect(data / "ledger.db")) as db:
        actor, action = db.execute("SELECT actor, action FROM operation").fetchone()
    assert actor.startswith("cli:")
    assert action == "operator_add"


def test_a_new_password_replaces_the_old_one_and_ends_its_sessions(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, "add", "mei", "--role", "operator")
    old = capsys.readouterr().out.strip()
    with ledger.open_operators(Settings(data_dir=str(data))) as operators:
        before = operators.find("mei")
    run(data, "password", "mei")
    new = capsys.readouterr().out.strip()
    assert new != old
    assert can_sign_in(data, "mei", new)
    assert not can_sign_in(data, "mei", old)
    with ledger.open_operators(Settings(data_dir=str(data))) as operators:
        after = operators.find("mei")
    assert before is not None
    assert after is not None
    assert fingerprint(before) != fingerprint(after), "a session is tied to the password that it began with"


def test_a_removed_account_is_gone_and_its_name_is_free(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(data, "add", "mei", "--role", "operator")
    password = capsys.readouterr().out.strip()
    run(data, "remove", "mei")
    assert not can_sign_in(data, "mei", password)
    run(data, "add", "mei", "--role", "viewer")


@pytest.mark.parametrize("words", [("password", "nobody"), ("remove", "nobody")])
def test_an_unknown_account_is_named(data: Path, words: tuple[str, ...]) -> None:
    run(data, "add", "mei", "--role", "operator")
    with pytest.raises(CommandError, match="'nobody'"):
        run(data, *words)


def test_what_happens_to_accounts_is_in_the_audit_trail_and_passwords_are_not(data: Path) -> None:
    run(data, "add", "mei", "--role", "operator")
    run(data, "password", "mei")
    run(data, "remove", "mei")
    with closing(sqlite3.connect(data / "ledger.db")) as file:
        rows = file.execute("SELECT action, detail FROM operation ORDER BY id").fetchall()
    assert [(action, json.loads(detail)) for action, detail in rows] == [
        ("operator_add", {"name": "mei", "role": "operator"}),
        ("operator_password", {"name": "mei"}),
        ("operator_remove", {"name": "mei"}),
    ]
