"""An independent judge of a real run: it compares the ledger's tables with what the clients were told.

It imports nothing of the product and trusts none of its constraints. What it knows is the documentation: the tables
that an auditor may read, the outcomes, and what must hold whatever fails (docs/reference/judge.md). Every rule errs on
the side of the accused: what a delay, a lost answer or a race could explain is no violation.
"""

from __future__ import annotations

from .errors import WrongUse
from .trial import judge
from .verdict import Verdict

__all__ = ["Verdict", "WrongUse", "judge"]
