"""`headgate node`: the nodes that share a ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from .options import COMMON, STDERR, AsJson, CommandError, Common

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
    table = Table("node", "plane", "version", "schema", "settings", "listen", "workers", "last seen", "differs")
    for node in nodes:
        card = node.card
        seen = datetime.fromtimestamp(node.seen_at_ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
        differs = "gone" if node.gone else ", ".join(odd.get((node.name, node.plane), []))
        table.add_row(
            node.name, node.plane, card.version, card.schema, card.settings, card.listen, str(card.workers), seen,
            differs,
        )  # fmt: skip
    Console(highlight=False).print(table)


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
