"""Settings that contradict each other are named instead of failing somewhere inside."""

from __future__ import annotations

import pytest

from headgate.settings import SettingsError, load


@pytest.mark.parametrize(
    "variables",
    [
        {"HEADGATE_LEDGER": "x", "HEADGATE_LEDGER__URL": "sqlite:///y.db"},
        {"HEADGATE_LEDGER__URL": "sqlite:///y.db", "HEADGATE_LEDGER": "x"},
    ],
    ids=["table first", "table last"],
)
def test_a_value_beside_the_table_of_its_name(variables: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="HEADGATE_LEDGER"):
        load(environment=variables)


def test_options_of_a_url_that_nobody_reads() -> None:
    with pytest.raises(SettingsError, match=r"options after the question mark"):
        load(environment={"HEADGATE_LEDGER__URL": "sqlite:///x.db?timeout=5"})
