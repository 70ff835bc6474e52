"""Fixtures: servers that live as long as a module, and data that nobody here wrote."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.acceptance.client import Api
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import SHARED_DATA, Server, create_campaign, headgate_command, opened, served
from tests.acceptance.target import SLUG as ATTACKED
from tests.acceptance.target import Target


@pytest.fixture(scope="session", autouse=True)
def command() -> Path:
    """Without the command nothing can be tested, and that is a failure, never a skip."""
    try:
        return headgate_command()
    except FileNotFoundError as error:
        pytest.fail(str(error))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with two workers that the tests of ordinary behaviour share; each makes its own campaign on it."""
    with served(tmp_path_factory.mktemp("served") / "data", workers=2) as running:
        yield running


@pytest.fixture(scope="session")
def ledger(server: Server) -> Ledger:
    return Ledger(server.data)


@pytest.fixture(scope="session")
def api(server: Server) -> Iterator[Api]:
    client = Api(server.url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def masks(server: Server, api: Api) -> str:
    """A large open campaign that many tests share."""
    return opened(server, api, "masks", (("central", 100_000), ("west", 100_000)))


@pytest.fixture
def fresh(server: Server, api: Api, request: pytest.FixtureRequest) -> str:
    """A campaign of one pool with two units for one test alone."""
    return opened(server, api, f"fresh-{crc32(request.node.nodeid.encode()):08x}", (("central", 2),))


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data = tmp_path_factory.mktemp("attacked") / "data"
    create_campaign(data, ATTACKED, (("central", 1_000_000),))
    with served(data, workers=2) as running:
        attacked = Target(running)
        yield attacked
        attacked.api.close()


def shared(relative: str) -> Path:
    """A file of the shared data; where it is absent a laptop skips loudly and CI fails."""
    path = SHARED_DATA / relative
    if not path.exists():
        message = f"SHARED DATA ABSENT: {path} is needed by this test"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def pharmacies() -> Path:
    return shared("pharmacies/masks-2020-03-03.csv")


@pytest.fixture(scope="session")
def naughty_strings() -> list[str]:
    strings: list[str] = json.loads(shared("bad-input/blns.json").read_text(encoding="utf-8"))
    assert len(strings) == 515
    return strings


@pytest.fixture(scope="session")
def json_cases() -> dict[str, bytes]:
    """Name without folder and ending (`n_…`, `y_…`, `i_…`) -> document."""
    with tarfile.open(shared("bad-input/json-cases.tar.gz")) as archive:
        cases = {
            Path(member.name).stem: file.read()
            for member in archive.getmembers()
            if member.isfile() and (file := archive.extractfile(member))
        }
    assert len(cases) == 159
    return cases


@pytest.fixture(scope="session")
def attacks() -> list[dict[str, Any]]:
    with gzip.open(shared("bad-input/crs-requests.jsonl.gz"), "rt", encoding="utf-8") as lines:
        requests = [json.loads(line) for line in lines]
    assert len(requests) == 2521
    return requests
