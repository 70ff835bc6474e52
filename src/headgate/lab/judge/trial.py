"""A trial: read, gather, apply every rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .case import Case
from .counts import count
from .log import read_logs
from .records import read_records
from .rules import CROWD_RULES, ROW_RULES, STORY_RULES
from .verdict import Findings, Verdict


def judge(log_paths: Sequence[str | Path], ledger_url: str, slug: str) -> Verdict:
    """Compare what clients were told with what the ledger holds, after the run.  Raises WrongUse.

    `log_paths` are the logs of all clients of the campaign: a claim that somebody else made has no explanation here.
    """
    records = read_records(ledger_url, slug)
    case = Case(read_logs([Path(path) for path in log_paths]), records)
    findings = Findings()
    for invariant, of_rows in ROW_RULES:
        findings.add(invariant, of_rows.__name__, of_rows(case))
    for story in case.stories():
        for invariant, of_story in STORY_RULES:
            findings.add(invariant, of_story.__name__, of_story(case, story))
    for invariant, of_crowd in CROWD_RULES:
        findings.add(invariant, of_crowd.__name__, of_crowd(case))
    return Verdict(slug, count(case), findings.violations())
