"""A disk that is full, and a ledger that is damaged, with the real program on a real file system."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.client import Api, confirmed, refused
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, create_campaign, damage_ledger, eventually, opened, run_cli, served
from tests.needs import unavailable

VOLUME_BYTES = 24 * 1024 * 1024


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, in memory, that can be filled to the last byte."""
    mount = tmp_path / "volume"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={VOLUME_BYTES},mode=0700", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        unavailable("mounting a small tmpfs needs root; run this test as root to see a full disk")
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
        owner = api.session()
        told = {confirmed(api.claim(slug, owner, "central"))["id"]}
        (before,) = told
        filler = volume / "filler"
        fill(filler)
        refusals = in_doubt = 0
        for _ in range(400):
            answer = api.claim(slug, api.session(), "central")
            if answer.status_code == 201:
                told.add(confirmed(answer)["id"])
            else:
                in_doubt += refused(answer, 503, ("overloaded", "unknown"))["outcome"] == "unknown"
                refusals += 1
            # Reading never stops.
            assert api.state(slug)["phase"] == "open"
            assert [claim["id"] for claim in api.mine(slug, owner)] == [before]
            if refusals > 3:
                break
        assert refusals > 3, "the disk never became full"
        filler.unlink()

        def taken() -> bool:
            answer = api.claim(slug, api.session(), "central")
            if answer.status_code == 201:
                told.add(confirmed(answer)["id"])
            return answer.status_code == 201

        eventually("claims after there is room", taken)
        assert [claim["id"] for claim in api.mine(slug, owner)] == [before]
    ledger = Ledger(data)
    ledger.check(slug)
    assert before in ledger.confirmed(slug)
    unheard = set(ledger.confirmed(slug)) - told
    assert told <= set(ledger.confirmed(slug)), "somebody was told of a claim that is not there"
    assert len(unheard) <= in_doubt, "a claim is there of which its owner was told that nothing was taken"
    audit = run_cli("audit", slug, "--json", data=data).ok().json()
    assert audit["ok"], audit


def test_a_damaged_ledger_is_refused_at_start(data: Path) -> None:
    create_campaign(data, "damaged", [("central", 10)])
    damage_ledger(data)
    said = Server(data).must_not_start()
    assert "ledger.db" in said
    assert "damaged" in said or "no readable" in said
    assert "backup" in said
    doctor = run_cli("doctor", "--json", data=data)
    assert doctor.code == 1
