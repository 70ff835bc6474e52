"""What the judge says: what was counted, and each kind of violation with the rows and lines that prove it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

EXAMPLES_MAX = 20
"""Of each kind: enough to see a pattern, and few enough to read."""


class Proof(msgspec.Struct, frozen=True):
    """One thing that must not be; `cites` are the lines of the log and the rows of the ledger that show it."""

    what: str
    cites: tuple[str, ...] = ()


class Violation(msgspec.Struct, frozen=True):
    """Everything that one rule found: `count` in all, of which `examples` are the first."""

    invariant: str
    rule: str
    count: int
    examples: list[Proof]


class Counts(msgspec.Struct, frozen=True):
    """What was judged, without judgement."""

    persons: int
    requests: int
    confirmed: int
    """Claims that somebody was told of."""
    refusals: dict[str, int]
    """Requests that were answered with a refusal, by outcome."""
    no_answers: int
    unknown_answers: int
    made_in_doubt: int
    """Claims that a request made whose answer was lost, or was `unknown`."""
    told_to_nobody: int
    """Those of them of which nobody was told later on either."""
    rows: int
    live: int
    longest_silence_s: float
    """The longest time in which requests were waiting or being sent, and none got an answer other than 503."""


class Verdict(msgspec.Struct, frozen=True):
    campaign: str
    counts: Counts
    violations: list[Violation]

    @property
    def ok(self) -> bool:
        return not self.violations

    def invariants(self) -> set[str]:
        return {violation.invariant for violation in self.violations}


class Findings:
    """Collects proofs by the rule that found them."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, list[Proof]]] = {}

    def add(self, invariant: str, rule: str, proofs: Iterable[Proof]) -> None:
        for proof in proofs:
            count, examples = self._found.get((invariant, rule), (0, []))
            if count < EXAMPLES_MAX:
                examples.append(proof)
            self._found[invariant, rule] = (count + 1, examples)

    def violations(self) -> list[Violation]:
        return [Violation(*kind, *found) for kind, found in sorted(self._found.items())]


def told(verdict: Verdict) -> str:
    """For people: what was counted, and every violation with what proves it."""
    lines = [f"campaign {verdict.campaign}"]
    for name, value in msgspec.to_builtins(verdict.counts).items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{outcome} {number}" for outcome, number in value.items()) or "none"
        lines.append(f"  {name}: {shown}")
    for violation in verdict.violations:
        lines.append(f"{violation.invariant} {violation.rule}: {violation.count}")
        for proof in violation.examples:
            lines += [f"  {proof.what}", *(f"    {cite}" for cite in proof.cites)]
        if violation.count > len(violation.examples):
            lines.append(f"  … and {violation.count - len(violation.examples)} more")
    lines.append("every rule was kept" if verdict.ok else f"broken: {', '.join(sorted(verdict.invariants()))}")
    return "\n".join(lines)
