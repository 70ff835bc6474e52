"""A disk that is full, and a ledger that is damaged, with the real program on a real file system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.client import Api, confirmed
from tests.acceptance.product import Server, create_campaign, eventually, opened, run_cli, served

VOLUME_BYTES = 24 * 1024 * 1024


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, in memory, that can be filled to the last byte."""
    mount = tmp_path / "volume"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_BYTES},mode=0700", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        message = "mounting a small tmpfs needs root; run this test as root to see a full disk"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(path: Path) -> None:
    """Take every byte that is left."""
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"\0" * size)
            except OSError:
                size //= 2


def test_a_full_disk_refuses_claims_keeps_reading_and_recovers(volume: Path) -> None:
    data = volume / "data"
    with served(data, settings={"HEADGATE_LIMITS__PER_IP_PER_MINUTE": "0"}) as server, Api(server.url) as api:
        slug = opened(server, api, "full", [("central", 1000)])
        before = confirmed(api.claim(slug, api.session(), "central"))
        filler = volume / "filler"
        fill(filler)
        refused = 0
        for _ in range(400):
            answer = api.claim(slug, api.session(), "central")
            assert answer.status_code in (201, 503), answer.text
            if answer.status_code == 503:
                assert answer.json()["outcome"] in ("overloaded", "unknown")
                assert answer.headers["retry-after"]
                refused += 1
            # Reading never stops.
            assert api.state(slug)["phase"] == "open"
            if refused > 3:
                break
        assert refused > 3, "the disk never became full"
        filler.unlink()
        eventually(
            "claims after there is room", lambda: api.claim(slug, api.session(), "central").status_code == 201 or None
        )
        assert before["id"]
    told = run_cli("audit", slug, "--json", data=data).ok().json()
    assert told["ok"], told


def test_a_damaged_ledger_is_refused_at_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_campaign(data, "damaged", [("central", 10)])
    ledger = data / "ledger.db"
    content = bytearray(ledger.read_bytes())
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 512] = b"\xa5" * 512
    ledger.write_bytes(content)
    for rest in data.glob("ledger.db-*"):
        rest.unlink()
    said = Server(data).must_not_start()
    assert "ledger.db" in said
    assert "damaged" in said or "no readable" in said
    assert "backup" in said
    doctor = run_cli("doctor", "--json", data=data)
    assert doctor.code == 1
    shutil.rmtree(data)
