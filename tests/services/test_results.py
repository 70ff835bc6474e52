"""Exports with values that a spreadsheet, a CSV reader or a JSON parser could take for something else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import BinaryIO

import pytest

from headgate.ports.ledger import ClaimRow
from headgate.services import results
from headgate.services.results import COLUMNS, write_csv, write_json, write_xlsx
from tests.fakes import NOON_MS
from tests.spreadsheets import holds_formulas, sheets

NOON = "2026-12-01T04:00:00.000Z"
FORMULAS = [
    "=1+1", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example","x")', "+1+1", "-2+3", "@SUM(A1)", "\t=1+1",
    "\r=1+1",
]  # fmt: skip
HOSTILE = [
    *FORMULAS, "{=1+1}", 'quoted "twice"', "comma, and 'apostrophe'", "two\nlines", "two\r\nlines", "http://evil.example",
    "internal:Sheet1!A1", "</v></c><f>1+1</f>", "&amp;", "00012", "1e5", "nan", "TRUE", "", "藥局", "😷",
]  # fmt: skip


def row_of(text: str) -> ClaimRow:
    """A row whose every text is this one."""
    return ClaimRow(7, text, text, text, -7, text, text, NOON_MS)


def cells_of(text: str) -> list[int | str]:
    return [7, text, text, text, -7, text, text, NOON]


def written(write: Callable[[Iterable[ClaimRow], BinaryIO], None], rows: Iterable[ClaimRow]) -> bytes:
    out = io.BytesIO()
    write(rows, out)
    return out.getvalue()


def csv_rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_csv_cell_that_a_spreadsheet_would_compute_begins_with_an_apostrophe(text: str) -> None:
    header, row = csv_rows(written(write_csv, [row_of(text)]))
    assert header == list(COLUMNS)
    assert row == [str(cell) for cell in cells_of(f"'{text}")], "numbers stay numbers, texts become texts"


@pytest.mark.parametrize("text", [text for text in HOSTILE if text not in FORMULAS])
def test_any_other_text_comes_through_csv_as_it_is(text: str) -> None:
    _, row = csv_rows(written(write_csv, [row_of(text)]))
    assert row == [str(cell) for cell in cells_of(text)]


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_comes_through_json_as_it_is(text: str) -> None:
    content = json.loads(written(write_json, [row_of(text), row_of("next")]))
    assert content == [dict(zip(COLUMNS, cells_of(value), strict=True)) for value in (text, "next")]


# XML reads every line end as one.
@pytest.mark.parametrize("text", [text for text in HOSTILE if "\r" not in text])
def test_any_text_is_a_text_in_a_workbook(text: str) -> None:
    content = written(write_xlsx, [row_of(text)])
    assert sheets(content) == [[list(COLUMNS), cells_of(text) if text else [7, -7, NOON]]]
    assert not holds_formulas(content)


@pytest.mark.parametrize("text", ["\t=1+1", "\r=1+1"])
def test_nothing_is_computed_after_white_space_in_a_workbook(text: str) -> None:
    assert not holds_formulas(written(write_xlsx, [row_of(text)]))


def test_rows_keep_their_order() -> None:
    rows = [ClaimRow(number, f"id-{number}", "a", "p", 1, "confirmed", "c", NOON_MS) for number in range(1, 6)]
    ids = [row.id for row in rows]
    assert [line[1] for line in csv_rows(written(write_csv, rows))[1:]] == ids
    assert [row["id"] for row in json.loads(written(write_json, rows))] == ids
    assert [row[1] for row in sheets(written(write_xlsx, rows))[0][1:]] == ids


def test_nothing_is_a_header_or_an_empty_list() -> None:
    assert csv_rows(written(write_csv, [])) == [list(COLUMNS)]
    assert json.loads(written(write_json, [])) == []
    assert sheets(written(write_xlsx, [])) == [[list(COLUMNS)]]


def test_more_rows_than_a_sheet_takes_go_on_in_further_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "XLSX_ROWS_MAX", 2)
    rows = [ClaimRow(number, f"id-{number}", "a", "p", 1, "confirmed", "c", NOON_MS) for number in range(1, 6)]
    parts = sheets(written(write_xlsx, rows))
    assert [[row[0] for row in part] for part in parts] == [["seq", 1, 2], ["seq", 3, 4], ["seq", 5]]
