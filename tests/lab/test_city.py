"""A small city at real pharmacies: the full one is `make bench-city`."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from pathlib import Path

import pytest

from headgate.lab.crowd import rush, wishes
from tests.acceptance.product import Server, rehearsal_tokens, run_cli, served
from tests.shared_data import PHARMACY_COLUMNS, PHARMACY_ID, PHARMACY_LABEL, PHARMACY_UNITS, pharmacy_rows

PEOPLE = 3_000


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """A data directory with a campaign of 6,588 pharmacies that have 1 to 3 masks each."""
    table = tmp_path / "pharmacies.csv"
    with table.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([PHARMACY_ID, PHARMACY_LABEL, PHARMACY_UNITS])
        writer.writerows(
            [row[PHARMACY_ID], row[PHARMACY_LABEL], int(row[PHARMACY_UNITS]) % 3 + 1] for row in pharmacy_rows()
        )
    file = tmp_path / "city.toml"
    file.write_text(
        'slug = "city"\ntitle = { zh = "口罩" }\nopens_at = 2020-01-01T00:00:00+08:00\n'
        "closes_at = 2099-01-01T00:00:00+08:00\nrehearsal = true\n",
        encoding="utf-8",
    )
    run_cli("campaign", "create", file, "--pools", table, *PHARMACY_COLUMNS, data=tmp_path / "data").ok()
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_every_pool_gives_what_is_asked_or_what_it_has(city: Path, workers: int) -> None:
    data = city / "data"
    with (city / "pharmacies.csv").open(encoding="utf-8", newline="") as lines:
        stock = {row[PHARMACY_ID]: int(row[PHARMACY_UNITS]) for row in csv.DictReader(lines)}
    tokens = rehearsal_tokens(data, "city", PEOPLE)
    crowd = list(wishes(tokens, list(stock), exponent=1.1, again=0.1, seed=7))
    demand = Counter(pool for _, pool in {(wish.token, wish.pool) for wish in crowd})
    with served(data, workers=workers) as server:
        heard = asyncio.run(rush("127.0.0.1", server.port, "city", iter(crowd), 64))
    assert heard.lost_connections == 0
    assert set(heard.outcomes) == {"confirmed", "sold_out"}
    _holds(city, server, stock, demand, set(heard.confirmed.values()))


def _holds(city: Path, server: Server, stock: dict[str, int], demand: Counter[str], told: set[str]) -> None:
    audit = run_cli("audit", "city", "--json", data=server.data).ok().json()
    assert audit["ok"], audit
    out = city / "results.csv"
    run_cli("campaign", "results", "city", "--format", "csv", "--out", out, data=server.data).ok()
    with out.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    given = Counter(row["pool"] for row in rows)
    assert {pool: given[pool] for pool in stock} == {pool: min(demand[pool], units) for pool, units in stock.items()}
    assert len({row["person"] for row in rows}) == len(rows)
    assert {row["id"] for row in rows} == told
