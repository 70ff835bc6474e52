"""The judge lets what is legal pass, and finds every kind of lie, each as what it is."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import msgspec
import pytest

from headgate.lab import judge as judge_package
from headgate.lab.judge.rules import CROWD_RULES, ROW_RULES, STORY_RULES
from headgate.lab.judge.verdict import EXAMPLES_MAX
from tests.lab.fair_scenes import FAIR, rush
from tests.lab.lies import quiet
from tests.lab.lies_about_answers import LIES_ABOUT_ANSWERS
from tests.lab.lies_about_claims import LIES_ABOUT_CLAIMS
from tests.lab.scenes import T0

LIES = LIES_ABOUT_CLAIMS | LIES_ABOUT_ANSWERS


def test_an_honest_rush_passes(tmp_path: Path) -> None:
    verdict = rush().verdict(tmp_path, logs=3)
    assert verdict.violations == []
    counts = verdict.counts
    assert (counts.persons, counts.requests, counts.confirmed) == (7, 23, 5)
    assert (counts.rows, counts.live, counts.told_to_nobody) == (5, 4, 0)
    assert (counts.no_answers, counts.unknown_answers, counts.made_in_doubt) == (1, 1, 1)
    assert counts.refusals == {"limit_reached": 1, "not_open": 1, "overloaded": 1, "sold_out": 4, "unknown": 1}


@pytest.mark.parametrize("name", FAIR)
def test_what_only_looks_wrong_passes(tmp_path: Path, name: str) -> None:
    scene = quiet()
    FAIR[name](scene)
    assert scene.verdict(tmp_path).violations == []


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_as_what_it_is(tmp_path: Path, name: str) -> None:
    scene = quiet()
    broken, tell = LIES[name]
    tell(scene)
    # A ledger can lie although nobody asked for anything.
    scene.line("z", "mine", 0.1, "200")
    verdict = scene.verdict(tmp_path)
    assert verdict.invariants() == broken, verdict.violations
    assert all(proof.what for violation in verdict.violations for proof in violation.examples)


def test_every_rule_has_a_lie_that_breaks_it(tmp_path: Path) -> None:
    broken = set()
    for _, tell in LIES.values():
        scene = quiet()
        tell(scene)
        scene.line("z", "mine", 0.1, "200")
        broken |= {violation.rule for violation in scene.verdict(tmp_path).violations}
    rules = [*ROW_RULES, *STORY_RULES, *CROWD_RULES]
    assert {function.__name__ for _, function in rules} == broken


def test_proofs_name_lines_and_rows(tmp_path: Path) -> None:
    scene = quiet()
    scene.confirm("17", 1, "south")
    scene.claim("17", 2, "409 sold_out", pool="south")
    (violation,) = scene.verdict(tmp_path).violations
    (proof,) = violation.examples
    assert proof.what == "17 held a claim and was told sold_out"
    file = tmp_path / "client0.jsonl"
    assert proof.cites == (
        f"{file}:2: person 17, claim south, sent {T0 + 2}.000000, answered {T0 + 2}.500000: 409 sold_out",
        "claim seq 1: id id1, pool south, person 3137, ordinal 1, confirmed, code C-1, created_at 1790000001200",
        f"{file}:1: person 17, claim south, sent {T0 + 1}.000000, answered {T0 + 1}.500000: 201 confirmed with id1",
    )


def test_many_violations_are_counted_and_some_shown(tmp_path: Path) -> None:
    scene = quiet()
    for number in range(EXAMPLES_MAX + 30):
        scene.claim(f"p{number}", 1, "500")
        scene.claim(f"p{number}", 2, "409 paused")
    scene.operations.append({"id": 2, "at": scene.campaign["opens_at"]})
    (violation,) = scene.verdict(tmp_path).violations
    assert (violation.count, len(violation.examples)) == (EXAMPLES_MAX + 30, EXAMPLES_MAX)


@pytest.mark.parametrize(
    ("requests", "silence"),
    [
        # Nobody waited between the two.
        ([(1, 2, "409 paused"), (50, 51, "409 paused")], 1),
        # Somebody was refused with 503, lost, and heard at last.
        ([(1, 2, "409 paused"), (3, 4, "503 overloaded"), (5, 9, "lost"), (10, 12, "409 paused")], 9),
        # Somebody waited while another was answered.
        ([(1, 20, "409 paused"), (2, 3, "409 paused")], 17),
        # Nobody was ever heard.
        ([(1, 2, "lost"), (3, 7, "503 unknown")], 6),
        # Nobody was heard in the end.
        ([(1, 2, "409 paused"), (4, 10, "lost")], 6),
    ],
)
def test_the_longest_silence(tmp_path: Path, requests: list[tuple[float, float, str]], silence: float) -> None:
    scene = quiet()
    for number, (sent, answered, answer) in enumerate(requests):
        scene.claim(f"p{number}", sent, answer, answered=T0 + answered)
    assert scene.verdict(tmp_path).counts.longest_silence_s == silence


def test_the_judge_imports_nothing_but_its_tools() -> None:
    """Nothing of the product, and no library that the product could have shaped."""
    imported = set()
    for path in Path(judge_package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                depth = len(path.relative_to(Path(judge_package.__file__).parent).parts)
                assert node.level <= depth, f"{path} imports from outside its package"
                imported |= set() if node.level else {str(node.module).partition(".")[0]}
    assert imported - sys.stdlib_module_names == {"msgspec", "sqlalchemy"}


def test_a_verdict_is_json(tmp_path: Path) -> None:
    verdict = rush().verdict(tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=type(verdict)) == verdict
