"""`headgate node`: the nodes that share a ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.table import Column, Table

from .options import COMMON, STDERR, AsJson, CommandError, Common, table_console

app = App(name="node", help="The nodes that share a ledger.")


@app.command(name="list")
def list_(*, as_json: AsJson = False, common: Common = COMMON) -> None:
    """Every node, its version and when it was last seen; what differs from most of the others is named.

    Example: `headgate node list --config /etc/headgate.toml`
    """
    from headgate.bootstrap import ledger
    from headgate.services.nodes import differing

    with ledger.open_nodes(common.load()) as register:
        nodes = register.all()
    odd = differing(nodes)
    if as_json:
        listed = [{**msgspec.to_builtins(node), "differs": odd.get((node.name, node.plane), [])} for node in nodes]
        print(json.dumps(listed))
        return
    if not nodes:
        STDERR.print("no node has been here yet; `headgate serve` makes this one the first", markup=False)
        return
    # What fits on a narrow screen; all of it is in the JSON.  A name that is cut names nobody.
    table = Table(Column("node", overflow="fold"), "plane", "version", "listen", "last seen", "differs")
    for node in nodes:
        seen = datetime.fromtimestamp(node.seen_at_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
        differs = "gone" if node.gone else ", ".join(odd.get((node.name, node.plane), []))
        table.add_row(node.name, node.plane, node.card.version, node.card.listen, seen, differs)
    table_console().print(table)


@app.command
def forget(
    name: Annotated[str, Parameter(help="As `headgate node list` shows it.")], *, common: Common = COMMON
) -> None:
    """Take a node that is gone off the list.

    Example: `headgate node forget web-3:8000`
    """
    from headgate.bootstrap import ledger

    with ledger.open_nodes(common.load()) as register:
        if not register.forget(name):
            raise CommandError(f"no node {name!r} is gone; `headgate node list` shows which are")
    STDERR.print(f"{name} is off the list", markup=False)
