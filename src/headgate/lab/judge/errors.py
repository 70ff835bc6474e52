"""What keeps the judge from judging."""

from __future__ import annotations


class WrongUse(Exception):
    """The log, the ledger or the call cannot be judged by; the text says what, where and what to do."""
