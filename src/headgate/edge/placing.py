"""Puts rendered files where they belong, and nothing over what somebody has edited."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..services import files

RECORD = ".headgate-edge.json"
"""What was rendered here last: the SHA-256 of each file by its place."""


class Edited(Exception):
    """Files that were changed since they were rendered, or are somebody else's; `difference` is a unified diff."""

    def __init__(self, places: list[str], difference: str) -> None:
        super().__init__(", ".join(places))
        self.places = places
        self.difference = difference


class Unwritable(Exception):
    """A directory cannot be written to; the message names it."""


class Placed(NamedTuple):
    written: list[str]
    unchanged: list[str]


def place(directory: Path, contents: Mapping[str, str], *, force: bool) -> Placed:
    """Write all of `contents` (by place in `directory`), or nothing.  Raises Edited (not with `force`), Unwritable."""
    present = {name: _read(directory / name) for name in contents}
    if not force:
        _spare_edited(directory, contents, present)
    changed = [name for name, content in contents.items() if present[name] != content]
    try:
        for parent in sorted({(directory / name).parent for name in contents}):
            parent.mkdir(parents=True, exist_ok=True)
            # Before the first file is written, so that none of them is where another cannot be.
            if not os.access(parent, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(parent))
        for name in changed:
            files.replace(directory / name, contents[name].encode())
        files.replace(directory / RECORD, msgspec.json.format(msgspec.json.encode(_digests(contents))))
    except OSError as error:
        raise Unwritable(
            f"{error.filename or directory} cannot be written to ({error.strerror}); "
            "choose another directory with --out, or correct its permissions"
        ) from error
    return Placed(changed, [name for name in contents if name not in changed])


def _spare_edited(directory: Path, contents: Mapping[str, str], present: Mapping[str, str | None]) -> None:
    rendered = _record(directory)
    edited = [
        name
        for name, content in present.items()
        if content is not None and content != contents[name] and rendered.get(name) != _digest(content)
    ]
    if edited:
        raise Edited(edited, "".join(_difference(name, present[name] or "", contents[name]) for name in edited))


def _difference(name: str, present: str, wanted: str) -> str:
    lines = difflib.unified_diff(
        present.splitlines(keepends=True), wanted.splitlines(keepends=True), f"{name} (there)", f"{name} (rendered)"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unwritable(f"{path} cannot be read ({error.strerror}); remove it, or choose another directory") from error


def _record(directory: Path) -> dict[str, str]:
    """Empty where there is none, or it is none of ours: then every file that differs counts as edited."""
    try:
        return msgspec.json.decode((directory / RECORD).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}


def _digests(contents: Mapping[str, str]) -> dict[str, str]:
    return {name: _digest(content) for name, content in contents.items()}


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
