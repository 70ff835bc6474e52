"""What killed writers left behind goes; what somebody writes at this moment stays."""

from __future__ import annotations

import os
from pathlib import Path

from headgate.services.files import WRITING_MS, remove_left_over
from tests.fakes import NOON_MS


def test_only_what_nobody_can_be_writing_any_more_is_removed(tmp_path: Path) -> None:
    """The keepers of several ledgers write into one directory."""
    ages_ms = {".old": WRITING_MS + 1, ".new": 0, ".young": WRITING_MS - 1_000, "masks.json": 10 * WRITING_MS}
    for name, age_ms in ages_ms.items():
        path = tmp_path / name
        path.write_bytes(b"half")
        os.utime(path, ((NOON_MS - age_ms) / 1000,) * 2)
    remove_left_over(tmp_path, NOON_MS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new", ".young", "masks.json"]
