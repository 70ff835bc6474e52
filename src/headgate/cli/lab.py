"""`headgate lab`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from .options import STDERR, AsJson, CommandError, whole

if TYPE_CHECKING:
    from headgate.lab.faults.run import Report
    from headgate.lab.holding.run import Told

app = App(name="lab", help="Try Headgate itself on this machine: under faults, and with a crowd.")

PEOPLE = 200_000
PEOPLE_MIN, PEOPLE_MAX = 2_000, 5_000_000
CONNECTIONS_MAX = 1_000_000
MINUTES_MAX = 7 * 24 * 60


@app.command
def faults(
    *,
    minutes: Annotated[
        float, Parameter(validator=validators.Number(gt=0, lte=MINUTES_MAX), help="Begin new rounds until then.")
    ],
    seed: Annotated[int, Parameter(converter=whole, help="Decides what is struck, and when.")],
    people: Annotated[
        int,
        Parameter(converter=whole, validator=validators.Number(gte=PEOPLE_MIN, lte=PEOPLE_MAX), help="In each round."),
    ] = PEOPLE,
    directory: Annotated[Path | None, Parameter(help="Where logs and data stay; else they are removed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sell to a rush of people while nodes, keepers, the gate and the ledger die, and let a judge look at all of it.

    Four nodes, a Valkey cluster of three primaries and three replicas, a PostgreSQL primary and its synchronous
    standby are started on loopback.  The judge knows the people's log of answers and the ledger's tables, and
    nothing else.  Exit code 1 where it finds anything.

    Example: `headgate lab faults --minutes 10 --seed 7`
    """
    from headgate.lab.faults.run import FaultRun, RunFailed
    from headgate.lab.faults.stage import stage
    from headgate.lab.servers.process import NoServer

    def say(what: str) -> None:
        STDERR.print(what, markup=False)

    with tempfile.TemporaryDirectory(prefix="headgate-lab-") as temporary:
        place = Path(temporary) if directory is None else directory
        place.mkdir(parents=True, exist_ok=True)
        try:
            with stage(place, say) as set_up:
                report = FaultRun(set_up, place, seed, people, say).run(minutes)
        except (NoServer, RunFailed) as error:
            raise CommandError(str(error)) from error
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        _show(report)
    sys.exit(0 if report.ok else 1)


@app.command
def crowd(
    *,
    connections: Annotated[
        int,
        Parameter(converter=whole, validator=validators.Number(gte=1, lte=CONNECTIONS_MAX), help="How many are held."),
    ],
    directory: Annotated[Path | None, Parameter(help="Where logs and data stay; else they are removed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold very many connections at a rendered edge on this machine, and let all of them ask for the state when a
    campaign opens; exit code 1 where anybody gets no answer.

    Example: `headgate lab crowd --connections 220000`
    """
    from headgate.lab.holding.run import HoldingFailed, hold
    from headgate.lab.servers.process import NoServer

    with tempfile.TemporaryDirectory(prefix="headgate-lab-") as temporary:
        place = Path(temporary) if directory is None else directory
        place.mkdir(parents=True, exist_ok=True)
        try:
            told = hold(place, connections, lambda what: STDERR.print(what, markup=False))
        except (NoServer, HoldingFailed) as error:
            raise CommandError(str(error)) from error
    if as_json:
        print(msgspec.json.encode({"ok": told.ok, **msgspec.structs.asdict(told)}).decode())
    else:
        _show_crowd(told)
    sys.exit(0 if told.ok else 1)


def _show_crowd(told: Told) -> None:
    console = Console(highlight=False)
    table = Table(box=None, show_header=False)
    answered = ", ".join(f"{count} {phase}" for phase, count in sorted(told.answers.items()))
    for what, value in (
        ("connections held", f"{told.connections}, by {told.edge_workers} worker processes of nginx"),
        ("until all were there", f"{told.connecting_s:.1f} s"),
        ("at the opening, all asked", f"{told.opening_s:.1f} s until the last had its answer"),
        (
            "answers",
            f"p50 {told.opening_p50_ms:.0f} ms, p99 {told.opening_p99_ms:.0f} ms, max {told.opening_max_ms} ms",
        ),
        ("said", answered or "nothing"),
        ("memory of nginx", f"{told.nginx_mb:.0f} MB, {told.per_connection_kb:.2f} KB a connection"),
        ("memory of this machine", f"{told.machine_mb:.0f} MB, the crowd's own end of every connection with it"),
    ):
        table.add_row(what, value)
    console.print(table)
    for error, count in sorted(told.errors.items()):
        console.print(f"{count}: {error}", markup=False)
    console.print("no errors" if told.ok else "NOT ALL WERE ANSWERED", markup=False)


def _show(report: Report) -> None:
    from headgate.lab.judge.verdict import told

    console = Console(highlight=False)
    for one in report.rounds:
        table = Table("blow", "people served", "lasted (s)", title=f"round {one.number}: {one.people} people")
        for blow in one.blows:
            table.add_row(blow.name, str(blow.served), f"{blow.ended - blow.began:.1f}")
        console.print(table)
        console.print(told(one.verdict), markup=False)
    said = "nothing found" if report.ok else "VIOLATIONS, see above"
    console.print(f"{len(report.rounds)} rounds with seed {report.seed}: {said}", markup=False)
