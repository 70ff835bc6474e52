"""Fixtures: servers that live as long as a module, and data that nobody here wrote."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from tests.acceptance.client import Api
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Server, create_campaign, headgate_command, opened, served
from tests.acceptance.target import SLUG as ATTACKED
from tests.acceptance.target import Target
from tests.shared_data import naughty_strings as all_naughty_strings
from tests.shared_data import shared


@pytest.fixture(scope="session", autouse=True)
def command() -> Path:
    """Without the command nothing can be tested, and that is a failure, never a skip."""
    try:
        return headgate_command()
    except FileNotFoundError as error:
        pytest.fail(str(error))


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
    with Api(server.url) as client:
        yield client


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that nobody serves, with a real campaign and a rehearsal, for calls that change nothing."""
    data = tmp_path_factory.mktemp("idle") / "data"
    create_campaign(data, "masks", (("central", 4),))
    create_campaign(data, "practice", rehearsal=True)
    return data


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


@pytest.fixture(scope="session")
def naughty_strings() -> list[str]:
    return all_naughty_strings()


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
