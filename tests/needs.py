"""What a test needs and a machine may not have: a laptop skips with one loud line, CI fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(message: str) -> NoReturn:
    """End the test; `message` says what is absent and how to get it."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(message)
    pytest.skip(message)
