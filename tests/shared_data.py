"""Data that nobody here wrote: a country's pharmacies, and strings that break programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.needs import unavailable

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

PHARMACY_ID, PHARMACY_LABEL, PHARMACY_UNITS = "醫事機構代碼", "醫事機構名稱", "成人口罩剩餘數"
PHARMACY_COLUMNS = (
    "--id-column", PHARMACY_ID, "--label-column", PHARMACY_LABEL, "--units-column", PHARMACY_UNITS,
)  # fmt: skip
"""Options of `headgate campaign create` that read the list of pharmacies."""


def shared(relative: str) -> Path:
    """A file of the shared data."""
    path = SHARED_DATA / relative
    if not path.exists():
        unavailable(f"SHARED DATA ABSENT: {path} is needed by this test")
    return path


def pharmacy_list() -> Path:
    """The stock of adults' and children's masks of 6,588 pharmacies on 3 March 2020, as CSV."""
    return shared("pharmacies/masks-2020-03-03.csv")


def pharmacy_rows() -> list[dict[str, str]]:
    """One row for each pharmacy, by the names of the columns."""
    with pharmacy_list().open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 6588
    return rows


def naughty_strings() -> list[str]:
    """The big list of naughty strings."""
    strings: list[str] = json.loads(shared("bad-input/blns.json").read_text(encoding="utf-8"))
    assert len(strings) == 515
    return strings
