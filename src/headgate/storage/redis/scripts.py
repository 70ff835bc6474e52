"""The scripts that a shared Redis or Valkey runs for us; each says at its top what it takes and gives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis.exceptions

from .client import AsyncClient, Client


class Script:
    """`NAME.lua` of this folder; its keys lie in one slot."""

    def __init__(self, name: str) -> None:
        self._text = (Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8")
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: Client, keys: Sequence[str | bytes], arguments: Sequence[Any]) -> Any:
        try:
            return client.evalsha(self._sha, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            # Not there yet, or lost in a restart or failover: nothing has been done.
            return client.eval(self._text, len(keys), *keys, *arguments)

    async def run_async(self, client: AsyncClient, keys: Sequence[str | bytes], arguments: Sequence[Any]) -> Any:
        try:
            return await client.evalsha(self._sha, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            return await client.eval(self._text, len(keys), *keys, *arguments)
