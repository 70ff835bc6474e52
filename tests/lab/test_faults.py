"""A short fault run of the real thing, and what the judge says where it is not the real thing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.lab.faults.product import Product
from headgate.lab.faults.run import FaultRun, Report
from headgate.lab.faults.stage import stage
from headgate.lab.servers.process import NoServer
from tests.needs import unavailable

SEED = int(os.environ.get("TEST_SEED", "20261201"))
PEOPLE = 4_000
PLANTED = Path(__file__).parent / "planted"


def run(directory: Path, planted: str | None = None) -> Report:
    def design(directory: Path, ledger_url: str, replica_url: str | None, gate_url: str) -> Product:
        made = Product(directory, ledger_url, replica_url, gate_url, nodes=2, keepers=2)
        if planted is not None:
            made.environment |= {"PLANTED": planted, "PYTHONPATH": str(PLANTED)}
        return made

    try:
        with stage(directory, print, design) as set_up:
            return FaultRun(set_up, directory, SEED, PEOPLE, print).run(minutes=0.01)
    except NoServer as error:
        unavailable(str(error))


def test_nothing_is_lost_given_twice_or_left_over_whatever_dies(tmp_path: Path) -> None:
    report = run(tmp_path)
    assert report.ok, report
    (one,) = report.rounds
    assert len({blow.name for blow in one.blows}) >= 12, "every kind of blow is struck"
    assert one.verdict.counts.confirmed > 0
    assert one.verdict.counts.refusals["sold_out"] > 0


@pytest.mark.parametrize(
    ("planted", "invariant"), [("commits that nobody waits for", "I3"), ("winners who are told that they lost", "I4")]
)
def test_the_judge_finds_what_was_planted_into_the_nodes(tmp_path: Path, planted: str, invariant: str) -> None:
    report = run(tmp_path, planted)
    assert invariant in {name for one in report.rounds for name in one.verdict.invariants()}, report
