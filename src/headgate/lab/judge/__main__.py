"""`python -m headgate.lab.judge`: judge a run by its ledger and its clients' logs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from .errors import WrongUse
from .trial import judge
from .verdict import told

LEDGER_VARIABLE = "HEADGATE_LEDGER__URL"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m headgate.lab.judge",
        description="Judge a run by its ledger and by what its clients were told; exit 1 where something is wrong.",
        epilog="Example: python -m headgate.lab.judge --campaign masks --log crowd.jsonl --ledger-file url.txt",
    )
    parser.add_argument("--log", type=Path, action="append", required=True, help="a client's log; name each of them")
    parser.add_argument("--campaign", required=True, metavar="SLUG", help="the campaign to judge")
    parser.add_argument(
        "--ledger-file", type=Path, help=f"file that holds the ledger's URL; without it {LEDGER_VARIABLE} is read"
    )
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    arguments = parser.parse_args()
    try:
        verdict = judge(arguments.log, _ledger_url(arguments.ledger_file), arguments.campaign)
    except WrongUse as fault:
        print(fault, file=sys.stderr)
        sys.exit(2)
    print(msgspec.json.encode(verdict).decode() if arguments.json else told(verdict))
    sys.exit(0 if verdict.ok else 1)


def _ledger_url(file: Path | None) -> str:
    """The ledger's URL, which may hold a password and therefore is on no command line."""
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUse(f"{file}: the ledger's URL cannot be read from it ({error})") from None
    url = os.environ.get(LEDGER_VARIABLE, "")
    if not url:
        raise WrongUse(f"no ledger: name a file that holds its URL with --ledger-file, or set {LEDGER_VARIABLE}")
    return url


if __name__ == "__main__":
    main()
