"""`headgate doctor`."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from functools import partial

import msgspec
from rich.console import Console

from headgate.settings import MAIN, SettingsError
from headgate.supervision import is_held

from .examination import examine
from .options import COMMON, AsJson, Common
from .serve import SERVE_LOCK

_MARKS = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "failing": "[red]failing[/]"}


def doctor(*, as_json: AsJson = False, common: Common = COMMON) -> None:
    """Examine this machine: Python, limits, clock, latency of commits, key, gate, whom events are told to, ledgers and
    their replicas, ports; exit code 1 on a failing check.

    Example: `headgate doctor --data /var/lib/headgate`
    """
    from headgate.bootstrap import events, examining, gate, ledger, replicas

    settings = common.load()
    listeners = {"listen": settings.listen_address, "console": settings.console_address}
    findings = []
    console = Console(highlight=False)
    serving = is_held(settings.run_dir / SERVE_LOCK)
    stores = {
        "key": partial(examining.check_key, settings),
        "gate": partial(gate.check_gate, settings),
        "events": partial(events.check_events, settings),
    }
    # Where the settings of one cannot be used, none can be opened, and the check of all says so.
    with suppress(SettingsError):
        events.check_events(settings)
        for name in events.destination_names(settings):
            stores[f"events {name}"] = partial(events.check_destination, settings, name)
    for shard in ledger.all_shards(settings):
        named = "" if shard.name == MAIN else f" {shard.name}"
        stores[f"ledger{named}"] = partial(examining.check_ledger, shard)
        for number, place in enumerate(shard.replica_places, 1):
            stores[f"replica{named} {number}"] = partial(replicas.check_replica, shard, place)
    if settings.shards or settings.ledger.url:
        stores["ledgers"] = partial(examining.check_shards, settings)
    for finding in examine(settings.data, listeners, stores, serving=serving):
        findings.append(finding)
        if not as_json:
            advice = f"\n{'':10}{finding.advice}" if finding.advice else ""
            console.print(_MARKS[finding.verdict], end=" ")
            console.print(f"{finding.name}: {finding.found}{advice}", markup=False)
    healthy = all(finding.verdict != "failing" for finding in findings)
    if as_json:
        print(json.dumps({"ok": healthy, "checks": msgspec.to_builtins(findings)}))
    sys.exit(0 if healthy else 1)
