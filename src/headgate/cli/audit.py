"""`headgate audit`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

from .options import COMMON, Common


def audit(
    slug: str,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Re-count a campaign from the ledger alone; exit code 1 where something does not add up.

    Example: `headgate audit masks --json`
    """
    with common.campaigns() as campaigns:
        tally = campaigns.tally(slug)
    counted = {**msgspec.to_builtins(tally), "ok": tally.ok}
    if as_json:
        print(json.dumps(counted))
    else:
        for name, value in counted.items():
            print(f"{name:>10}  {value}")
    sys.exit(0 if tally.ok else 1)
