"""Where commands take their settings and their ledger from, and what they say where one of them is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.product import run_cli


def test_settings_come_from_a_file_a_variable_or_an_option_alike(idle: Path, tmp_path: Path) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text(f'data_dir = "{idle}"\n')
    assert "masks" in run_cli("campaign", "list", "--config", config).ok().out
    assert "masks" in run_cli("campaign", "list", settings={"HEADGATE_DATA_DIR": str(idle)}).ok().out


def test_an_unknown_setting_and_a_missing_file_are_named(tmp_path: Path) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text("data_dri = 'x'\n")
    run_cli("campaign", "list", "--config", config).failed("data_dri")
    run_cli("campaign", "list", "--config", tmp_path / "absent.toml").failed("absent.toml")


@pytest.mark.parametrize(
    "text", ["workers = 'two'", "workers = 0", "listen = 'nonsense'", "[limits]\nconcurrency = -1"]
)
def test_a_setting_of_the_wrong_kind_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text(text + "\n")
    name = text.split(" =", maxsplit=1)[0].rsplit("\n", maxsplit=1)[-1]
    run_cli("campaign", "list", "--config", config, data=tmp_path / "data").failed(name)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HEADGATE_WORKRES", "3"), ("HEADGATE_WORKERS", "two"), ("HEADGATE_LIMITS__CONCURRENCY", "many")],
)
def test_a_variable_that_cannot_be_used_is_named_with_its_value(idle: Path, variable: str, value: str) -> None:
    ran = run_cli("campaign", "list", data=idle, settings={variable: value})
    ran.failed(variable)
    ran.failed(value)


@pytest.mark.parametrize(
    "command",
    [
        ("campaign", "show", "masks"), ("campaign", "close", "masks"), ("audit", "masks"),
        ("campaign", "results", "masks"),
    ],
)  # fmt: skip
def test_looking_into_a_wrong_directory_says_so_and_makes_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    wrong = tmp_path / "mistyped"
    run_cli(*command, data=wrong).failed("mistyped")
    assert not wrong.exists()


@pytest.mark.parametrize("command", [("campaign", "list"), ("operator", "list")])
def test_a_list_of_a_wrong_directory_is_empty_says_so_and_makes_nothing(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    wrong = tmp_path / "mistyped"
    ran = run_cli(*command, "--json", data=wrong).ok()
    assert json.loads(ran.out) == []
    assert "mistyped" in ran.err
    assert not wrong.exists()


def test_a_table_that_goes_into_a_file_is_not_cut(idle: Path) -> None:
    row = next(line for line in run_cli("campaign", "list", data=idle).ok().out.splitlines() if "masks" in line)
    listed = json.loads(run_cli("campaign", "list", "--json", data=idle).ok().out)
    masks = next(campaign for campaign in listed if campaign["slug"] == "masks")
    assert masks["opens_at"] in row
    assert masks["closes_at"] in row


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://u:sekret@h", "names no database"), ("postgresql://u:sekret@h:port/d", "is no URL"),
        ("oracle://u:sekret@h/d", "oracle"),
    ],
)  # fmt: skip
def test_a_ledger_url_that_cannot_be_used_is_refused_without_its_password(tmp_path: Path, url: str, named: str) -> None:
    ran = run_cli("campaign", "list", data=tmp_path / "data", settings={"HEADGATE_LEDGER__URL": url})
    ran.failed("ledger.url", named)
    assert "sekret" not in ran.out + ran.err
