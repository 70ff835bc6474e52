"""Settings that contradict each other are named instead of failing somewhere inside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from headgate.bootstrap.ledger import main_place
from headgate.settings import REPLICAS_MAX, SettingsError, load


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


PRIMARY = {"HEADGATE_LEDGER__URL": "postgresql://u:sekret@db/headgate"}
REPLICAS = ("postgresql://u:sekret@r1/headgate", "postgresql://u:sekret@r2,r3/headgate")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (REPLICAS[0], REPLICAS[:1]),
        (f" {REPLICAS[0]} ,{REPLICAS[0]},", (REPLICAS[0], REPLICAS[0])),
        (json.dumps(REPLICAS), REPLICAS),
        ("", ()),
        ("[]", ()),
    ],
)
def test_replicas_come_separated_by_commas_or_as_json(written: str, read: tuple[str, ...]) -> None:
    assert load(environment=PRIMARY | {"HEADGATE_LEDGER__REPLICA_URLS": written}).ledger.replica_urls == read


def test_replicas_and_proxies_are_lists_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'trusted_proxies = ["10.0.0.0/8"]\n[ledger]\nreplica_urls = {json.dumps(REPLICAS)}\n')
    settings = load(file, environment=PRIMARY)
    assert (settings.ledger.replica_urls, settings.trusted_proxies) == (REPLICAS, ("10.0.0.0/8",))
    assert load(environment={"HEADGATE_TRUSTED_PROXIES": "10.0.0.0/8, ::1"}).trusted_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HEADGATE_LEDGER__URL": ""}, "the ledger is a SQLite file, which has no replicas"),
        ({"HEADGATE_LEDGER__URL": "sqlite:///x.db"}, "the ledger is a SQLite file, which has no replicas"),
        ({"HEADGATE_LEDGER__URL": "mysql://u@db/headgate"}, "number 1 of ledger.replica_urls has the scheme 'postgre"),
        ({"HEADGATE_LEDGER__REPLICA_URLS": f"{REPLICAS[0]},sekret"}, "number 2 of ledger.replica_urls has the scheme"),
        ({"HEADGATE_LEDGER__REPLICA_URLS": '["sekret'}, "begins as a JSON list and is none"),
        ({"HEADGATE_LEDGER__REPLICA_URLS": "[1]"}, "replica_urls"),
        ({"HEADGATE_LEDGER__REPLICA_URLS": ",".join(REPLICAS[:1] * (REPLICAS_MAX + 1))}, "names 17 servers; at most"),
        ({"HEADGATE_LEDGER__REPLICA_URL": REPLICAS[0]}, "HEADGATE_LEDGER__REPLICA_URL is a URL: there is no such"),
    ],
)
def test_replicas_that_cannot_be_are_named_without_their_passwords(variables: dict[str, str], said: str) -> None:
    given = PRIMARY | {"HEADGATE_LEDGER__REPLICA_URLS": REPLICAS[0]} | variables
    with pytest.raises(SettingsError, match=re.escape(said)) as found:
        load(environment=given)
    assert "sekret" not in str(found.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("host=127.0.0.1 user=u password=sekret dbname=d", "ledger.url begins with no scheme"),
        ("sekret://u@h/d", "ledger.url names the scheme"),
        ("postgres://u:sekret@h/d", "ledger.url names the scheme 'postgres'; use one of postgresql://"),
        ("postgresql://u:a@sekret/b@h/d", "write @ as %40"),
        ("postgresql://u:a@sekret@h/d", "ledger.url"),
        ("postgresql://u:sekret@h:port/d", "ledger.url is no URL"),
        ("postgresql://u:sekret@h", "ledger.url names no database; write for example postgresql+psycopg://h/headgate"),
    ],
)
def test_a_url_that_is_none_is_not_shown(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)) as found:
        main_place(load(environment={"HEADGATE_LEDGER__URL": url}))
    assert "sekret" not in str(found.value).removeprefix("ledger.url names the scheme 'sekret'")


def test_a_replica_of_mariadb_may_be_named_after_mysql() -> None:
    urls = {"HEADGATE_LEDGER__URL": "mariadb://u@db/headgate", "HEADGATE_LEDGER__REPLICA_URLS": "mysql://u@r/headgate"}
    assert load(environment=urls).ledger.replica_urls == ("mysql://u@r/headgate",)
