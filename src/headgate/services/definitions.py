"""Campaign files (TOML) and pool lists (CSV) as definitions, or every reason why they cannot be one."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..domain.definition import POOLS_MAX, CampaignDefinition, PoolDefinition, pool_problems, problems

FILE_MAX_BYTES = 64 * 1024 * 1024
"""A campaign file or pool list is read whole; this is a hundred times the largest seen."""

SHOWN_MAX = 10
"""Problems that a message lists; the rest is counted."""


class DefinitionError(ValueError):
    """The definition cannot be used; the message lists what is wrong, where, and what to do."""

    def __init__(self, source: Path, found: list[str]) -> None:
        shown = [f"{source}: {problem}" for problem in found[:SHOWN_MAX]]
        if len(found) > SHOWN_MAX:
            shown.append(f"… and {len(found) - SHOWN_MAX} more")
        super().__init__("\n".join(shown))


class Columns(msgspec.Struct, frozen=True):
    """Names of the columns of a pool list; `label` may be empty."""

    id: str
    units: str
    label: str = ""


def read_definition(path: Path, pools_csv: Path | None = None, columns: Columns | None = None) -> CampaignDefinition:
    """Raises DefinitionError; nothing is created from a file with any problem."""
    try:
        content = tomllib.loads(_read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(path, [f"{error}; correct that line"]) from error
    if pools_csv is not None:
        if "pools" in content:
            raise DefinitionError(path, [f"it has [[pools]], and --pools {pools_csv} names others; keep one of them"])
        assert columns is not None, "a pool list comes with the names of its columns"
        content["pools"] = [msgspec.to_builtins(pool) for pool in _read_pools(pools_csv, columns)]
    definition = _convert(path, content)
    found = problems(definition)
    if found:
        raise DefinitionError(path, found)
    return definition


def _convert(path: Path, content: dict[str, Any]) -> CampaignDefinition:
    try:
        return msgspec.convert(content, CampaignDefinition)
    except msgspec.ValidationError as error:
        said = str(error)
        if " - at `$" in said:
            what, _, where = said.partition(" - at `$")
            where = where.rstrip("`").removeprefix(".")
            said = f"{where}: {what}{_value_at(content, where)}"
        raise DefinitionError(path, [f"{said}; correct it, see docs/reference/campaign-file.md"]) from error


def _value_at(content: Any, where: str) -> str:
    """The value that a message is about, so that it can be found in the file."""
    for part in where.replace("[", ".[").split("."):
        try:
            content = content[int(part[1:-1])] if part.startswith("[") else content[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    return f" (it is {content!r})"


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_MAX_BYTES:
            raise DefinitionError(path, [f"the file is larger than {FILE_MAX_BYTES} bytes; is it the right one?"])
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DefinitionError(path, [f"the file cannot be read ({error.strerror}); check its path"]) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DefinitionError(
            path, [f"line {line}: byte {error.object[error.start]:#04x} is no UTF-8; save the file as UTF-8"]
        ) from error


def _read_pools(path: Path, columns: Columns) -> list[PoolDefinition]:
    text = _read_text(path)
    found: list[str] = []
    pools: list[PoolDefinition] = []
    lines: dict[str, int] = {}
    try:
        for line, row in _rows(path, text, columns):
            pool = _pool(row, columns, line, found)
            if pool is None:
                continue
            if pool.id in lines:
                found.append(f"line {line}: id {pool.id!r} stands on line {lines[pool.id]} already; give each its own")
            lines.setdefault(pool.id, line)
            pools.append(pool)
            if len(pools) > POOLS_MAX:
                found.append(f"line {line}: more than {POOLS_MAX} pools; make several campaigns")
                break
    except csv.Error as error:
        found.append(f"the file is no readable CSV ({error}); save it again as CSV, UTF-8")
    if not pools and not found:
        found.append("the file has no rows below its header; add a row for each pool")
    if found:
        raise DefinitionError(path, found)
    return pools


def _rows(path: Path, text: str, columns: Columns) -> Iterator[tuple[int, dict[str | None, Any]]]:
    """(line, row) of every row that is not blank."""
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        raise DefinitionError(path, [f"line {line}: a NUL character; the file is no CSV, or it is damaged"])
    reader = csv.DictReader(text.splitlines(keepends=True), strict=True)
    header = reader.fieldnames or []
    if not header:
        raise DefinitionError(
            path, ["the file is empty; its first line names the columns, then comes a row for each pool"]
        )
    if len(header) == 1 and (separator := next((mark for mark in ";\t|" if mark in header[0]), None)):
        raise DefinitionError(
            path, [f"line 1: the columns are separated by {separator!r}; save the file again with commas"]
        )
    for name in (columns.id, columns.units, *([columns.label] if columns.label else [])):
        if name not in header:
            raise DefinitionError(
                path, [f"line 1: there is no column {name!r}; the columns are {', '.join(map(repr, header))}"]
            )
    for row in reader:
        yield reader.line_num, row


def _label(text: str) -> dict[str, str]:
    """A pool list has one column of names; whether they are Chinese can be seen."""
    if not text:
        return {}
    return {"zh" if any("\u4e00" <= character <= "\u9fff" for character in text) else "en": text}


def _pool(row: dict[str | None, Any], columns: Columns, line: int, found: list[str]) -> PoolDefinition | None:
    code, units_text = row[columns.id], row[columns.units]
    if code is None or units_text is None or (columns.label and row[columns.label] is None):
        found.append(f"line {line}: the row has fewer fields than the header; complete it")
        return None
    if None in row:
        found.append(f"line {line}: the row has more fields than the header ({row[None]!r}); quote a field with commas")
        return None
    units_text = units_text.strip()
    if not (units_text.isascii() and units_text.isdigit() and len(units_text) <= 12):
        found.append(f"line {line}: {columns.units} is {units_text!r}; give a whole number of units")
        return None
    label = _label(row[columns.label].strip()) if columns.label else {}
    pool = PoolDefinition(code.strip(), int(units_text), label)
    found += [f"line {line}: {problem}" for problem in pool_problems(pool)]
    return pool
