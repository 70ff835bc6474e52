"""Files that others read while they are replaced."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

WRITING_MS = 60_000
"""Long after any writer has renamed its file: that takes milliseconds."""

PUBLIC_MODE = 0o644
"""What the edge serves: it runs as another user."""


def replace(path: Path, content: bytes) -> None:
    """A reader sees the old file or the new one, never a part, also where several processes write the same one.

    Whoever is killed here leaves a file whose name begins with a dot.  Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), PUBLIC_MODE)
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_left_over(directory: Path, now_ms: int) -> None:
    """Remove what writers of `directory` left when they were killed, and nothing that one is about to rename."""
    for path in directory.glob(".*"):
        with suppress(FileNotFoundError):
            if now_ms - path.stat().st_mtime * 1000 > WRITING_MS:
                path.unlink()
