"""A Chromium for the tests, and axe-core; found, not shipped.

Chromium: the variable TEST_CHROMIUM, else a known name on PATH, else Debian's package where root.
axe-core: the npm package of one version, whose hash is checked, kept in `.tools`.  Where they can't be
had, a laptop skips with one loud line and CI fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile

from tests.installing import INSTALL_S, TOOLS, debian_package, one_at_a_time
from tests.needs import unavailable

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # A browser under test speaks to the server under test and to nobody else.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = "axe-core@4.14.1"
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"


def _present() -> str | None:
    named = os.environ.get("TEST_CHROMIUM")
    if named:
        assert shutil.which(named), f"TEST_CHROMIUM is {named!r}, which is no program; correct it or unset it"
        return named
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def chromium() -> str:
    """The path of a Chromium."""
    if _present() is None:
        debian_package("chromium", _present)
    found = _present()
    if found is None:
        unavailable("NO CHROMIUM: install it (Debian: apt install chromium) or set TEST_CHROMIUM to its path")
    return found


def arguments() -> list[str]:
    """Its sandbox can't be had by root."""
    return [*ARGUMENTS, "--no-sandbox"] if os.geteuid() == 0 else list(ARGUMENTS)


def axe() -> str:
    """The source of axe-core."""
    archive = TOOLS / (AXE.replace("@", "-") + ".tgz")
    npm = shutil.which("npm")
    with one_at_a_time("axe"):
        if not archive.exists() and npm:
            command = [npm, "pack", AXE, "--silent", "--pack-destination", str(TOOLS)]
            subprocess.run(command, check=False, timeout=INSTALL_S, capture_output=True, cwd=TOOLS)
    if not archive.exists():
        unavailable(f"NO AXE-CORE: install Node.js with npm, so that `npm pack {AXE}` works")
    content = archive.read_bytes()
    assert hashlib.sha256(content).hexdigest() == AXE_SHA256, f"{archive} is not the {AXE} that we know; delete it"
    with tarfile.open(archive) as files:
        source = files.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode("utf-8")
