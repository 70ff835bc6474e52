"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


LONG = ("simulation", "acceptance/test_queued_faults.py", "lab", "acceptance", "browser", "storage")
"""What takes longest comes first, so that no worker sits with it alone at the end: directories and files of tests."""


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: many tests wait for servers that they have stopped or cut off."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + cores // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_begins)


def _begins(item: pytest.Item) -> int:
    place = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((number for number, long in enumerate(LONG) if place.startswith(long)), len(LONG))
