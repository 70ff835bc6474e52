"""Legal histories by chance pass; one altered row or line is found, wherever it can be seen at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.legal_runs import Run
from tests.lab.scenes import Row, Scene

SEEDS = 200
CHUNKS = 8
"""So that tests share the work between processes."""

Line = dict[str, Any]
Alteration = Callable[[Run], bool]
"""Makes one lie; False where the history offers no place for it."""

ALTERATIONS: dict[str, tuple[set[str], Alteration]] = {}
"""By name: the invariants of which at least one must be found broken, and what alters the history."""


def alters(*broken: str) -> Callable[[Alteration], Alteration]:
    def keep(function: Alteration) -> Alteration:
        ALTERATIONS[function.__name__] = (set(broken), function)
        return function

    return keep


def told_rows(run: Run) -> list[Row]:
    told = {claim["id"] for line in run.scene.lines for claim in line["claims"]}
    return [row for row in run.scene.rows if row["id"] in told]


def confirmations(run: Run) -> list[Line]:
    return [line for line in run.scene.lines if line["request"] == "claim" and line["claims"]]


def first_told(run: Run) -> dict[str, float]:
    """When each claim was told first, by its id."""
    told: dict[str, float] = {}
    for line in sorted(run.scene.lines, key=lambda line: -line["answered"]):
        told |= {claim["id"]: line["answered"] for claim in line["claims"]}
    return told


def pick(run: Run, places: list[Any]) -> Any:
    return run.rng.choice(places) if places else None


def pool_of(scene: Scene, row: Row) -> Row:
    return next(pool for pool in scene.pools if pool["id"] == row["pool_id"])


@alters("I5")
def a_row_is_deleted(run: Run) -> bool:
    row = pick(run, [row for row in run.scene.rows if row["status"] == "confirmed"])
    if row:
        run.scene.rows.remove(row)
    return row is not None


@alters("I3")
def the_last_told_claim_was_rolled_back(run: Run) -> bool:
    rows = told_rows(run)
    if not rows or rows[-1] is not run.scene.rows[-1] or rows[-1]["status"] != "confirmed":
        return False
    pool_of(run.scene, rows[-1])["remaining"] += 1
    run.scene.rows.pop()
    return True


@alters("I5", "I1")
def a_row_is_doubled(run: Run) -> bool:
    row = pick(run, [row for row in run.scene.rows if row["status"] == "confirmed"])
    if row:
        run.scene.rows.append(row | {"seq": len(run.scene.rows) + 1, "id": "other"})
    return row is not None


@alters("I5")
def what_remains_is_off_by_one(run: Run) -> bool:
    run.rng.choice(run.scene.pools)["remaining"] += run.rng.choice((-1, 1))
    return True


@alters("I3")
def the_code_of_a_row_is_another(run: Run) -> bool:
    row = pick(run, told_rows(run))
    if row:
        row["code"] = "other"
    return row is not None


@alters("I3")
def a_row_is_given_to_another_person(run: Run) -> bool:
    rows = told_rows(run)
    row = pick(run, rows)
    other = pick(run, [other for other in rows if row and other["person"] != row["person"]])
    if other:
        row["person"] = other["person"]
    return other is not None


@alters("I3")
def a_row_has_ended_by_itself(run: Run) -> bool:
    named = {line["claim"] for line in run.scene.lines}
    row = pick(run, [row for row in run.scene.rows if row["status"] == "confirmed" and row["id"] not in named])
    if row:
        run.scene.end(row, run.now)
    return row is not None


@alters("I3")
def a_cancelled_row_is_live(run: Run) -> bool:
    cancelled = {line["claim"] for line in run.scene.lines if line["request"] == "cancel" and line["status"] == 200}
    row = pick(run, [row for row in run.scene.rows if row["id"] in cancelled])
    if row:
        row |= {"status": "confirmed", "ordinal": 1, "ended_at": None}
        pool_of(run.scene, row)["remaining"] -= 1
    return row is not None


@alters("I9")
def two_rows_changed_places(run: Run) -> bool:
    """Of two claims, the second was asked for when the first had been told."""
    told = first_told(run)
    asked: dict[bytes, float] = {}
    for line in sorted(run.scene.lines, key=lambda line: -line["sent"]):
        if line["request"] == "claim":
            asked[line["person"].encode()] = line["sent"]
    rows = told_rows(run)
    pairs = [(one, two) for one in rows for two in rows if told[one["id"]] < asked[two["person"]]]
    if not pairs:
        return False
    first, second = run.rng.choice(pairs)
    first["seq"], second["seq"] = second["seq"], first["seq"]
    return True


@alters("I9")
def a_seq_is_skipped(run: Run) -> bool:
    row = pick(run, run.scene.rows)
    if row:
        row["seq"] += 1000
    return row is not None


@alters("I8")
def a_row_is_from_outside_the_window(run: Run) -> bool:
    row = pick(run, run.scene.rows)
    if row:
        row["created_at"] = run.rng.choice((run.scene.campaign["opens_at"] - 1, run.scene.campaign["closes_at"]))
    return row is not None


@alters("I3")
def another_claim_was_told(run: Run) -> bool:
    line = pick(run, [line for line in run.scene.lines if line["claims"]])
    if line:
        line["claims"][0]["id"] = "other"
    return line is not None


@alters("I3")
def a_claim_was_told_to_another_person(run: Run) -> bool:
    lines = confirmations(run)
    line = pick(run, lines)
    other = pick(run, [other for other in lines if line and other["person"] != line["person"]])
    if other:
        line["person"] = other["person"]
    return other is not None


@alters("contract")
def an_answer_was_an_error(run: Run) -> bool:
    line = pick(run, [line for line in run.scene.lines if line["status"] is not None])
    if line:
        line |= {"status": run.rng.choice((500, 502, 504)), "outcome": None, "claims": []}
    return line is not None


@alters("I20")
def a_persons_answers_were_all_lost(run: Run) -> bool:
    line = pick(run, [line for line in run.scene.lines if line["request"] == "claim"])
    for other in run.scene.lines:
        if line and other["person"] == line["person"] and other["request"] != "cancel":
            other |= {"status": None, "outcome": None, "claims": []}
    return line is not None


@alters("I3")
def mine_does_not_show_a_claim(run: Run) -> bool:
    told = first_told(run)
    places = [
        (line, claim)
        for line in run.scene.lines
        for claim in line["claims"]
        if line["request"] == "mine" and told[claim["id"]] < line["sent"]
    ]
    place = pick(run, places)
    if place:
        place[0]["claims"].remove(place[1])
    return place is not None


@alters("I4", "I7")
def a_repeated_claim_was_refused(run: Run) -> bool:
    """Somebody who was told of a claim that is live to the end asked again for its pool."""
    live = {row["id"]: row for row in run.scene.rows if row["status"] == "confirmed"}
    places = [
        second
        for first in confirmations(run)
        for second in confirmations(run)
        if run.scene.campaign["per_person"] == 1
        and first["claims"][0]["id"] == second["claims"][0]["id"] in live
        and first["answered"] < second["sent"]
    ]
    line = pick(run, places)
    if line:
        line |= {"status": 409, "outcome": run.rng.choice(("sold_out", "limit_reached")), "claims": []}
    return line is not None


@alters("I4")
def a_confirmation_was_told_as_a_refusal(run: Run) -> bool:
    """Where no answer was lost, and nothing else told this person of the claim, nothing can explain it."""
    if any(line["status"] in (None, 503) for line in run.scene.lines):
        return False
    line = pick(run, [line for line in confirmations(run) if line["status"] == 201])
    for other in run.scene.lines:
        if line and other["person"] == line["person"] and other["request"] == "claim":
            other |= {"status": 409, "outcome": "sold_out", "claims": []}
    return line is not None


def altered(name: str, seeds: range, directory: Path) -> Iterator[tuple[int, set[str]]]:
    """(seed, invariants found broken) of each history that offers a place for the alteration."""
    _, alter = ALTERATIONS[name]
    for seed in seeds:
        run = Run(seed)
        if run.scene.lines and alter(run):
            yield seed, run.scene.verdict(directory).invariants()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_legal_history_passes(tmp_path: Path, chunk: int) -> None:
    for seed in range(chunk, SEEDS, CHUNKS):
        run = Run(seed)
        assert run.scene.verdict(tmp_path, logs=2).violations == [], f"Run({seed})"


def test_histories_hold_what_is_hard_to_judge(tmp_path: Path) -> None:
    counts = [Run(seed).scene.verdict(tmp_path).counts for seed in range(60)]
    assert sum(count.made_in_doubt for count in counts) > 20
    assert sum(count.told_to_nobody for count in counts) > 0
    assert sum(count.rows - count.live for count in counts) > 20
    assert {"not_open", "closed", "sold_out", "limit_reached", "unknown", "overloaded"} <= {
        outcome for count in counts for outcome in count.refusals
    }


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_altered_history_is_found(tmp_path: Path, name: str) -> None:
    expected, _ = ALTERATIONS[name]
    found = list(altered(name, range(40), tmp_path))
    assert found, "no history had a place for it"
    assert [(seed, broken) for seed, broken in found if not broken & expected] == []
