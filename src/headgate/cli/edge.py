"""`headgate edge`: the web server in front, and the machine that it runs on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from headgate.edge.checking import check_edge
from headgate.edge.nginx import ANY, Nginx, UnusableNginx, check_nginx, parse_nginx
from headgate.edge.placing import Edited, Unwritable, place
from headgate.edge.rendering import render as render_files

from .options import COMMON, STDERR, CommandError, Common

app = App(name="edge", help="The web server in front of Headgate, and the machine that it runs on.")

ASK_S = 10
"""`nginx -V` answers within milliseconds."""

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
