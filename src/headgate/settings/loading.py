"""Settings out of a file, the environment and options."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from .checks import check
from .model import Settings, SettingsError

PREFIX = "HEADGATE_"
_LISTS = {"trusted_proxies", "replica_urls", "server_names", "nodes", "backup_nodes"}
"""Settings that a variable gives as a list: separated by commas, or as JSON."""


_NAMED = {("events", "webhooks"), ("shards",)}
"""Tables of which each entry has a name of the user's own."""


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG":
            continue
        *tables, key = name.removeprefix(PREFIX).lower().split("__")
        if (*tables, key) in _NAMED:
            # Its value is not shown: whoever mistakes it writes a URL there.
            raise SettingsError(f"{name} is set, but {key} have names; write {name}__NAME__URL")
        table = found
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise SettingsError(
                    f"{name} is set, and so is {PREFIX}{part.upper()}, which is a table of settings; unset that one"
                )
        if isinstance(table.get(key), dict):
            raise SettingsError(f"{name} is {value!r}, but it is a table of settings; unset it and keep {name}__…")
        table[key] = _listed(name, value) if key in _LISTS else value
    return found


def _listed(name: str, value: str) -> list[Any]:
    """Raises SettingsError without the value, which may hold a password."""
    if not value.lstrip().startswith("["):
        return [part.strip() for part in value.split(",") if part.strip()]
    try:
        items: list[Any] = json.loads(value)
    except ValueError as error:
        raise SettingsError(
            f'{name} begins as a JSON list and is none ({error}); write ["FIRST", "SECOND"], or FIRST,SECOND'
        ) from error
    return items


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"the configuration file {path} cannot be read ({error.strerror}); check its path and permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        # Beside TOMLDecodeError and UnicodeDecodeError, numbers and tables beyond what the parser takes.
        raise SettingsError(f"the configuration file {path} is no valid TOML: {error}; correct that line") from error


def _place(said: str, config: Path | None, environment: Mapping[str, str]) -> str:
    """What is wrong, with the variable or the file that says so and the value where it comes from a variable."""
    what, _, where = said.partition(" - at `$")
    path = [part for part in where.rstrip("`").split(".") if part]
    unknown = re.search(r"unknown field `(\w+)`", what)
    if unknown:
        path.append(unknown[1])
        what = "there is no such setting"
    variable = PREFIX + "__".join(path).upper()
    if variable in environment:
        # A URL may hold a password.
        value = "a URL" if "://" in environment[variable] else repr(environment[variable])
        return f"{variable} is {value}: {what}"
    return f"{'.'.join(path) or 'the configuration'} in {config or 'the options'}: {what}"


def load(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from file, environment and `overrides` (nested like the file).  Raises SettingsError."""
    environment = os.environ if environment is None else environment
    if config is None and environment.get(f"{PREFIX}CONFIG"):
        config = Path(environment[f"{PREFIX}CONFIG"])
    merged = _read_file(config) if config else {}
    merged = _merge(merged, _from_environment(environment))
    merged = _merge(merged, overrides or {})
    try:
        settings = msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{_place(str(error), config, environment)}; see the settings in docs/reference/settings.md"
        ) from error
    check(settings)
    return settings
