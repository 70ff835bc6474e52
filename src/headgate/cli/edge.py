"""`headgate edge`: the web server in front, and the machine that it runs on."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from rich.console import Console

from headgate.edge.checking import check_edge
from headgate.edge.difference import FAILING, OK, WARNING, Difference
from headgate.edge.examining import examine_machine, examine_nginx
from headgate.edge.nginx import ANY, Nginx, UnusableNginx, check_nginx, parse_nginx
from headgate.edge.placing import Edited, Unwritable, place
from headgate.edge.upstreams import examine_upstreams
from headgate.settings import Address

from .options import COMMON, STDERR, AsJson, CommandError, Common

app = App(name="edge", help="The web server in front of Headgate, and the machine that it runs on.")

ASK_S = 10
"""`nginx -V` answers within milliseconds."""

REACH_S = 1.0
"""A node of the same network answers within milliseconds."""

USUAL = Path("/usr/sbin/nginx")
"""What units name where no nginx was found."""


@app.command
def render(
    *,
    out: Annotated[Path, Parameter(help="Directory for the files; it is made.")],
    nginx: Annotated[
        str | None, Parameter(help="The program that is going to read them (default: that on PATH).")
    ] = None,
    force: Annotated[bool, Parameter(negative="", help="Write over files that were edited, too.")] = False,
    common: Common = COMMON,
) -> None:
    """Write a whole set-up from the settings: nginx, kernel and limits, systemd units, rotation of logs.

    Example: `headgate edge render --out /etc/headgate-edge --config /etc/headgate.toml`
    """
    # Its templates take their time to import.
    from headgate.edge.rendering import render as render_files

    settings = common.load()
    check_edge(settings)
    program = _program(nginx)
    found = ANY if program is None else _ask(program)
    try:
        check_nginx(found, tls=bool(settings.edge.certificate))
        ours = Path(sys.argv[0]).resolve()
        contents = render_files(settings, found, ours, program or USUAL, out)
        placed = place(out, contents, force=force)
    except (UnusableNginx, Unwritable) as error:
        raise CommandError(str(error)) from error
    except Edited as edited:
        print(edited.difference, end="")
        raise CommandError(
            f"nothing was written: {', '.join(edited.places)} in {out} would lose what differs above; put that into "
            "the settings, or write over it with --force"
        ) from edited
    console = Console(highlight=False)
    for name in placed.written:
        console.print(f"written    {out / name}", markup=False, soft_wrap=True)
    for name in placed.unchanged:
        console.print(f"unchanged  {out / name}", markup=False, soft_wrap=True)
    if program is None:
        STDERR.print(
            "headgate: no nginx was found, so these files are for any since "
            f"{'.'.join(map(str, ANY.version))}; render again where it is, or name it with --nginx",
            markup=False,
        )
    console.print(f"Next: nginx -t -c {(out / 'nginx/nginx.conf').absolute()}", markup=False, soft_wrap=True)


@app.command
def check(
    *,
    conf: Annotated[
        Path | None, Parameter(help="Configuration of an nginx (default: the one that nginx on PATH reads).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare this machine, and an nginx configuration (ours or anybody's), with what a launch needs: what differs,
    what it costs, and which entries of server groups lead nowhere; exit code 1 where something fails.

    Example: `headgate edge check --conf /etc/nginx/nginx.conf`
    """
    from headgate.edge.reading import Unreadable, read_configuration

    found = [*examine_machine(_kernel, resource.getrlimit(resource.RLIMIT_NOFILE)[0])]
    configuration = conf or _usual_configuration()
    if configuration is not None:
        try:
            directives = read_configuration(configuration)
        except Unreadable as error:
            raise CommandError(str(error)) from error
        found += examine_nginx(directives, os.cpu_count() or 1)
        found += examine_upstreams(directives, _reaches)
    healthy = all(one.verdict != FAILING for one in found)
    if as_json:
        print(json.dumps({"ok": healthy, "checks": msgspec.to_builtins(found)}))
    else:
        _tell(found)
        if configuration is None:
            STDERR.print("headgate: no nginx was found, so only the machine was looked at; name a file with --conf")
    sys.exit(0 if healthy else 1)


_MARKS = {OK: "[green]ok     [/]", WARNING: "[yellow]warning[/]", FAILING: "[red]failing[/]"}


def _tell(found: Sequence[Difference]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for one in found:
        console.print(_MARKS[one.verdict], end=" ")
        console.print(f"{one.name}: {one.found}", markup=False)
        if one.verdict != OK:
            where = f" ({one.place})" if one.place not in ("", one.name) else ""
            console.print(f"{'':8}should be {one.wanted}: {one.cost}{where}", markup=False)


def _kernel(name: str) -> str | None:
    try:
        return Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except OSError:
        return None


def _usual_configuration() -> Path | None:
    program = _program(None)
    path = _ask(program).configuration if program is not None else ""
    return Path(path) if path else None


def _reaches(address: Address) -> bool:
    try:
        with socket.create_connection((address.host, address.port), timeout=REACH_S):
            return True
    except OSError:
        return False


def _program(named: str | None) -> Path | None:
    found = shutil.which(named or "nginx")
    if found is None and named is not None:
        raise CommandError(f"--nginx is {named}, and there is no such program; give its path")
    return None if found is None else Path(found)


def _ask(program: Path) -> Nginx:
    try:
        ran = subprocess.run([program, "-V"], capture_output=True, text=True, check=False, timeout=ASK_S)  # noqa: S603 -- the operator's own nginx
        return parse_nginx(ran.stderr + ran.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{program} -V cannot be run ({error}); name another program with --nginx") from error
    except UnusableNginx as error:
        raise CommandError(str(error)) from error
