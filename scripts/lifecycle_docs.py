"""Writes docs/reference/lifecycles.md from the life cycle tables of the domain.

Run: .venv/bin/python scripts/lifecycle_docs.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headgate.domain.campaign import CAMPAIGN_LIFE, CONTROL_LIFE, Control, Phase
from headgate.domain.claim import CLAIM_LIFE, LIVE

TARGET = Path(__file__).resolve().parents[1] / "docs/reference/lifecycles.md"

Life = Mapping[tuple[str | None, str], str]

HEAD = """\
# Life cycles

Made by `scripts/lifecycle_docs.py` from the tables in `headgate.domain`; a test fails where this page and the tables
differ. A pair of state and event that no table holds is impossible.
"""

CAMPAIGN = """\
## A campaign, as the public sees it

The phase is not stored. It follows from the operator's control, the ledger's clock and the stock, so `opens`, `closes`,
`sells_out` and `stock_returns` happen by themselves; the rest are commands. `phase_of` in `headgate.domain.campaign`
computes it.
"""

CONTROL = """\
## What an operator decides

This is what the ledger stores in `campaign.control`.
"""

CLAIM = f"""\
## A claim

A live claim ({", ".join(f"`{status}`" for status in sorted(LIVE))}) occupies a unit of its pool and one of its person's
places. When it ends, both return in the same transaction. This version of Headgate confirms at once and cancels; it
does not hold, expire or redeem yet.
"""


def diagram(life: Life, first: str | None) -> str:
    """A Mermaid state diagram; `first` is where a thing begins, None where the table itself says so."""
    lines = ["stateDiagram-v2"]
    if first is not None:
        lines.append(f"    [*] --> {first}")
    lines += [f"    {state or '[*]'} --> {after}: {event}" for (state, event), after in life.items()]
    ends = sorted(set(life.values()) - {state for state, _ in life})
    lines += [f"    {state} --> [*]" for state in ends]
    return "\n".join(["```mermaid", *lines, "```", ""])


def table(life: Life) -> str:
    rows = [
        f"| {f'`{state}`' if state else 'none'} | `{event}` | `{after}` |" for (state, event), after in life.items()
    ]
    return "\n".join(["| from | event | to |", "|---|---|---|", *rows, ""])


def page() -> str:
    sections: list[tuple[str, Life, str | None]] = [
        (
            CAMPAIGN,
            {(str(state), event): str(after) for (state, event), after in CAMPAIGN_LIFE.items()},
            Phase.SCHEDULED,
        ),
        (CONTROL, {(str(state), event): str(after) for (state, event), after in CONTROL_LIFE.items()}, Control.ACTIVE),
        (
            CLAIM,
            {
                (None if state is None else str(state), event): str(after)
                for (state, event), after in CLAIM_LIFE.items()
            },
            None,
        ),
    ]
    return "\n".join([HEAD, *("\n".join([text, diagram(life, first), table(life)]) for text, life, first in sections)])


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
