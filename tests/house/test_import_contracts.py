"""The import contracts bite: each planted violation breaks exactly the contract that names it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
CONTRACTS = {contract["id"]: contract["name"] for contract in SETTINGS}
VERDICT = re.compile(r"^(?P<name>.+) (?P<verdict>KEPT|BROKEN)(?: \(.*\))?$", re.MULTILINE)

# Contract id -> what is planted (file -> text).  Every file is new, so that a planted import closes no circle with
# the imports that are there already.
PLANTED: list[tuple[str, dict[str, str]]] = [
    ("layers", {"keeper/planted.py": "import headgate.console"}),
    ("layers", {"annex.py": ""}),
    ("protected", {"cli/planted.py": "import headgate.storage.sql"}),
    ("protected", {"cli/planted.py": "import headgate.messaging"}),
    ("independence", {"storage/memory/planted.py": "import headgate.storage.sql"}),
    ("pure-domain", {"domain/planted.py": "import time"}),
    ("pure-domain", {"domain/planted.py": "import sqlalchemy"}),
    ("ports-bring-time-and-chance", {"services/planted.py": "import random"}),
    ("ports-bring-time-and-chance", {"ports/planted.py": "import sqlite3"}),
    ("light-participant-plane", {"participant/planted.py": "import litestar"}),
    ("independent-judge", {"lab/judge/planted.py": "import headgate.domain.allocation"}),
    (
        "acyclic",
        {
            "domain/planted.py": "import headgate.domain.planted_too",
            "domain/planted_too.py": "import headgate.domain.planted",
        },
    ),
]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def broken_contracts(house: Path) -> set[str]:
    """Names of the contracts that lint-imports finds broken in the copy; fails unless it judged all of them."""
    run = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = {found["name"].strip(): found["verdict"] for found in VERDICT.finditer(run.stdout)}
    assert set(verdicts) == set(CONTRACTS.values()), run.stdout + run.stderr
    broken = {name for name, verdict in verdicts.items() if verdict == "BROKEN"}
    assert run.returncode == bool(broken), run.stdout + run.stderr
    return broken


def test_every_contract_has_a_planted_violation() -> None:
    assert {contract for contract, _ in PLANTED} == set(CONTRACTS)


def test_every_storage_package_is_independent() -> None:
    (contract,) = (contract for contract in SETTINGS if contract["id"] == "independence")
    packages = {f"headgate.storage.{path.parent.name}" for path in ROOT.glob("src/headgate/storage/*/__init__.py")}
    assert set(contract["modules"]) == packages


def test_the_house_as_it_stands_keeps_every_contract(house: Path) -> None:
    assert broken_contracts(house) == set()


@pytest.mark.parametrize(("contract", "files"), PLANTED, ids=[f"{c}-{n}" for n, (c, _) in enumerate(PLANTED)])
def test_a_planted_violation_breaks_exactly_its_contract(house: Path, contract: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (house / "src/headgate" / name).write_text(text + "\n")
    assert broken_contracts(house) == {CONTRACTS[contract]}
