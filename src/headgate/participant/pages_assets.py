"""The static files of the participant pages, under names that change with their content.

A page names `page.<hash>.css`, so that any cache may keep that file for ever: new content has a new
name, and a page that is still about names files that are still there.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..services import files

ASSETS_URL = "/assets/"
HASH_CHARS = 10

_STATIC = Path(__file__).parent / "static"


def build_assets(target: Path) -> dict[str, str]:
    """Copy the static files into `target` under hashed names; logical name ('page.css') to URL path.

    Files of earlier versions stay, because pages in caches still name them.  Raises OSError where
    `target` cannot be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    urls = {}
    for source in sorted(_STATIC.iterdir()):
        content = source.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:HASH_CHARS]
        hashed = f"{source.stem}.{digest}{source.suffix}"
        if not (target / hashed).exists():
            files.replace(target / hashed, content)
        urls[source.name] = ASSETS_URL + hashed
    return urls
