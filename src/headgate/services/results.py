"""Claims as files for operators: CSV, JSON, XLSX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

import msgspec
import xlsxwriter

from ..ports.ledger import ClaimRow
from .publishing import iso

COLUMNS = ("seq", "id", "pool", "person", "ordinal", "status", "code", "created_at")

XLSX_ROWS_MAX = 1_048_575
"""Rows of one sheet below its header; a larger campaign goes on in further sheets."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so for a formula (OWASP, CSV Injection)."""


def _fields(row: ClaimRow) -> tuple[int | str, ...]:
    return (row.seq, row.id, row.pool, row.person, row.ordinal, row.status, row.code, iso(row.created_at_ms))


def _safe(value: int | str) -> int | str:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def write_csv(rows: Iterable[ClaimRow], out: BinaryIO) -> None:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_safe(value) for value in _fields(row)])
    text.detach()


def write_json(rows: Iterable[ClaimRow], out: BinaryIO) -> None:
    """One JSON array, an object a line, so that it streams in both directions."""
    separator = b"[\n"
    for row in rows:
        out.write(separator + msgspec.json.encode(dict(zip(COLUMNS, _fields(row), strict=True))))
        separator = b",\n"
    out.write(b"\n]\n" if separator == b",\n" else b"[]\n")


def write_xlsx(rows: Iterable[ClaimRow], out: BinaryIO) -> None:
    workbook = xlsxwriter.Workbook(
        out, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    )
    sheet, line = None, 0
    for row in rows:
        if sheet is None or line > XLSX_ROWS_MAX:
            sheet, line = _new_sheet(workbook), 1
        sheet.write_row(line, 0, _fields(row))
        line += 1
    if sheet is None:
        _new_sheet(workbook)
    workbook.close()


def _new_sheet(workbook: xlsxwriter.Workbook) -> xlsxwriter.worksheet.Worksheet:
    sheet = workbook.add_worksheet()
    sheet.write_row(0, 0, COLUMNS)
    return sheet
