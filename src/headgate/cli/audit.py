"""`headgate audit`."""

from __future__ import annotations

import json
import sys

import msgspec

from .options import COMMON, AsJson, Common, Slug


def audit(
    slug: Slug,
    *,
    as_json: AsJson = False,
    common: Common = COMMON,
) -> None:
    """Re-count a campaign from the ledger alone; exit code 1 where something does not add up.

    Example: `headgate audit masks --json`
    """
    with common.ledger_of(slug) as ledger:
        tally = ledger.tally(slug)
    counted = msgspec.to_builtins(tally)
    if as_json:
        print(json.dumps({**counted, "ok": tally.ok}))
    else:
        for name, value in counted.items():
            print(f"{name:>16}  {value}")
        print(f"{'ok':>16}  {'yes' if tally.ok else 'NO'}")
    sys.exit(0 if tally.ok else 1)
