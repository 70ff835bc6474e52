"""Workbooks as any program may read them, with the standard library only."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree as ET

SPACE = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
TEXT = f"{{{SPACE['m']}}}t"


def sheets(content: bytes) -> list[list[list[int | str]]]:
    """Rows of each sheet in their order; empty cells are left out, numbers are whole."""
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        texts: list[str] = []
        if "xl/sharedStrings.xml" in book.namelist():
            texts = [_text(item) for item in ET.fromstring(book.read("xl/sharedStrings.xml"))]
        return [
            [[_value(cell, texts) for cell in row.iterfind("m:c", SPACE)] for row in sheet.iterfind(".//m:row", SPACE)]
            for sheet in _sheets(book)
        ]


def holds_formulas(content: bytes) -> bool:
    """Whether a sheet has something to compute, or to follow."""
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        return any(
            sheet.find(".//m:f", SPACE) is not None or sheet.find(".//m:hyperlink", SPACE) is not None
            for sheet in _sheets(book)
        )


def _sheets(book: zipfile.ZipFile) -> Iterator[ET.Element]:
    numbers = sorted(int(found[1]) for name in book.namelist() if (found := re.search(r"worksheets/sheet(\d+)", name)))
    for number in numbers:
        yield ET.fromstring(book.read(f"xl/worksheets/sheet{number}.xml"))


def _text(element: ET.Element) -> str:
    return "".join(part.text or "" for part in element.iter(TEXT))


def _value(cell: ET.Element, texts: list[str]) -> int | str:
    value = cell.findtext("m:v", "", SPACE)
    kind = cell.get("t")
    if kind == "s":
        return texts[int(value)]
    return _text(cell) if kind == "inlineStr" else int(value)
