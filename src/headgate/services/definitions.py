"""Campaign files (TOML) and pool lists (CSV) as definitions, or every reason why they cannot be one."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..domain.definition import POOLS_MAX, CampaignDefinition, PoolDefinition, pool_problems, problems

FILE_MAX_BYTES = 64 * 1024 * 1024
"""A campaign file or pool list is read whole; this is a hundred times the largest seen."""

SHOWN_MAX = 10
"""Problems that a message lists; the rest is counted."""

_VALUE_SHOWN_CHARS = 100


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
    except (ValueError, RecursionError) as error:
        # Beside TOMLDecodeError, numbers of thousands of digits and tables in tables without end.
        raise DefinitionError(path, [f"no valid TOML ({error}); correct that line"]) from error
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


_EXAMPLES = {
    "slug": 'slug = "masks"',
    "title": 'title = { en = "Free masks", zh = "免费口罩" }',
    "opens_at": "opens_at = 2026-12-01T09:00:00+08:00",
    "closes_at": "closes_at = 2026-12-01T12:00:00+08:00",
    "kind": 'kind = "first_come"',
    "per_person": "per_person = 1",
    "rehearsal": "rehearsal = false",
    "verification": 'verification = "none"',
    "limits": "limits = { per_person_per_minute = 30 }",
    "mode": 'mode = "queued"',
    "pools": '[[pools]] with id = "central" and units = 500',
}


def _convert(path: Path, content: dict[str, Any]) -> CampaignDefinition:
    """Raises DefinitionError with what is wrong in any field, so that a file can be corrected in one go."""
    fields = {field.name: field for field in msgspec.structs.fields(CampaignDefinition)}
    known = ", ".join(fields)
    found = [f"there is no {name!r} in a campaign; known are {known}" for name in content if name not in fields]
    for name, field in fields.items():
        if name not in content:
            if field.required:
                found.append(f"{name} is missing; write for example {_EXAMPLES[name]}")
        elif name == "pools" and isinstance(content[name], list):
            for number, pool in enumerate(content[name], 1):
                found += _wrong(f"pool {number}", pool, PoolDefinition, _EXAMPLES[name])
        else:
            found += _wrong(name, content[name], field.type, _EXAMPLES[name])
    if found:
        raise DefinitionError(path, found)
    return msgspec.convert(content, CampaignDefinition)


def _wrong(name: str, value: Any, kind: Any, example: str) -> list[str]:
    """Why `value` is none of `kind`; empty where it is one."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `")
        place = where.rstrip("`").partition("$")[2].removeprefix(".")
        shown = repr(_value_at(value, place))[:_VALUE_SHOWN_CHARS]
        return [f"{name}{f'.{place}' if place else ''} is {shown}: {what}; write for example {example}"]
    return []


def _value_at(content: Any, place: str) -> Any:
    """The part of a value that a message is about."""
    for part in filter(None, place.split(".")):
        if not isinstance(content, dict) or part not in content:
            break
        content = content[part]
    return content


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
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise DefinitionError(path, [f"line 1: {twice[0]!r} names more than one column; give each its own name"])
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
