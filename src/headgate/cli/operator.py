"""`headgate operator`: accounts of the console."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from headgate.ports.operators import OperatorExists, Role, UnknownOperator
from headgate.settings import NoLedger

from .options import COMMON, STDERR, AsJson, CommandError, Common, actor

_LINE_BYTES_MAX = 4_096

app = App(name="operator", help="Accounts of the console.")


@app.command
def add(
    name: str,
    *,
    role: Role,
    password_stdin: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Add an account and print its generated password, once.

    Example: `headgate operator add mei --role operator`

    Parameters
    ----------
    name
        1 to 32 of a-z, 0-9, '.', '_' and '-'.
    role
        What the account may do.
    password_stdin
        Read the password from the first line of standard input instead of generating one
        (an argument would show it to everybody on this machine).

    """
    from headgate.bootstrap import ledger
    from headgate.services.operators import InvalidAccount

    given = _password_from_stdin() if password_stdin else None
    with ledger.open_operators(common.load(), create=True) as operators:
        try:
            generated = operators.add(name, role, given, actor=actor())
        except (InvalidAccount, OperatorExists) as error:
            raise CommandError(str(error)) from error
    _tell(name, generated, given)


@app.command
def password(
    name: str, *, password_stdin: Annotated[bool, Parameter(negative="")] = False, common: Common = COMMON
) -> None:
    """Give an account a new password and print it, once; whoever is signed in with the old one is signed out.

    Example: `headgate operator password mei`

    Parameters
    ----------
    name
        The account.
    password_stdin
        Read the password from the first line of standard input instead of generating one.

    """
    from headgate.bootstrap import ledger
    from headgate.services.operators import InvalidAccount

    given = _password_from_stdin() if password_stdin else None
    with ledger.open_operators(common.load()) as operators:
        try:
            new = operators.set_password(name, given, actor=actor())
        except (InvalidAccount, UnknownOperator) as error:
            raise CommandError(str(error)) from error
    _tell(name, new, given)


@app.command
def remove(name: str, *, common: Common = COMMON) -> None:
    """Remove an account; whoever is signed in with it is signed out.

    Example: `headgate operator remove mei`

    Parameters
    ----------
    name
        The account.

    """
    from headgate.bootstrap import ledger

    with ledger.open_operators(common.load()) as operators:
        try:
            operators.remove(name, actor=actor())
        except UnknownOperator as error:
            raise CommandError(str(error)) from error
    STDERR.print(f"{name} is removed.", markup=False)


def _tell(name: str, password: str, given: str | None) -> None:
    if given is None:
        STDERR.print(f"The password of {name}; it is shown only now:", markup=False)
        print(password)
    else:
        STDERR.print(f"{name} can sign in.", markup=False)


@app.command(name="list")
def list_(
    *,
    as_json: AsJson = False,
    common: Common = COMMON,
) -> None:
    """Every account with its role and when it was added.

    Example: `headgate operator list --json`
    """
    from headgate.bootstrap import ledger

    try:
        with ledger.open_operators(common.load()) as operators:
            rows = [
                {
                    "name": operator.name,
                    "role": str(operator.role),
                    "created_at": datetime.fromtimestamp(operator.created_at_ms // 1000, UTC).isoformat(),
                }
                for operator in operators.operators()
            ]
    except NoLedger as nothing:
        # Before the first account that is no failure.
        STDERR.print(str(nothing), markup=False)
        rows = []
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['name']:<32}  {row['role']:<8}  {row['created_at']}")
    if not rows:
        STDERR.print("There is no account yet; add one with: headgate operator add NAME --role admin", markup=False)


def _password_from_stdin() -> str:
    line = sys.stdin.buffer.readline(_LINE_BYTES_MAX).rstrip(b"\r\n")
    if not line:
        raise CommandError("standard input holds no password; write it as one line, or leave --password-stdin out")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise CommandError("the password on standard input is no UTF-8; write it in that encoding") from error
