"""The judge reads a ledger on a database server as it reads a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from headgate.lab.judge import judge
from tests import mysql_servers, servers
from tests.lab.fair_scenes import rush
from tests.lab.scenes import METADATA, SLUG


@pytest.fixture(params=["postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        start = servers.postgresql if request.param == "postgresql" else mysql_servers.mariadb
        server = stack.enter_context(start(tmp_path_factory.mktemp(request.param)))
        yield server.url + ("" if request.param == "postgresql" else "test")


def test_a_server_gives_the_same_verdict_as_a_file(url: str, tmp_path: Path) -> None:
    scene = rush()
    file = scene.verdict(tmp_path)
    assert (scene.verdict(tmp_path, url=url), file.violations) == (file, [])
    scene.pool("north")["remaining"] += 1
    scene.rows[3]["code"] = "other"
    assert scene.verdict(tmp_path, url=url).invariants() == {"I3", "I5"}


def test_nothing_is_locked_or_changed(url: str, tmp_path: Path) -> None:
    """A transaction that others have open does not hold the judge up, and what is not committed is not seen."""
    scene = rush()
    paths, url = scene.write(tmp_path, url=url)
    engine = sa.create_engine(url)
    with engine.connect() as other:
        other.execute(METADATA.tables["pool"].update().values(remaining=0))
        assert judge(paths, url, SLUG).ok
        other.rollback()
    engine.dispose()
