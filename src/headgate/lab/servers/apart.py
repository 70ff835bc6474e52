"""A network of its own for one server, whose cable can be pulled.

A server that is stopped and goes on later proves nothing about a network that is cut: what was sent meanwhile lies
in its socket and is read as if nothing had been.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .process import NoServer


class Network(NamedTuple):
    """`ours` and `theirs` are the addresses at both ends; both lie in `subnet`."""

    name: str
    cable: str
    ours: str
    theirs: str
    subnet: str

    @property
    def within(self) -> list[str]:
        """Put before a command line: runs it there, as a user without rights."""
        account = pwd.getpwnam("nobody")
        return [
            "ip", "netns", "exec", self.name, "setpriv", "--reuid", str(account.pw_uid), "--regid", str(account.pw_gid),
            "--clear-groups", "--",
        ]  # fmt: skip

    def cut(self) -> None:
        _ip("link", "set", self.cable, "down")

    def join(self) -> None:
        _ip("link", "set", self.cable, "up")


@contextlib.contextmanager
def apart() -> Iterator[Network]:
    """Raises NoServer where this machine does not let us make one."""
    if os.geteuid() or not shutil.which("ip") or not shutil.which("setpriv"):
        raise NoServer(
            "NO NETWORK OF ITS OWN: it takes root, and the programs ip and setpriv (Debian: iproute2, util-linux)"
        )
    number = secrets.randbelow(250)
    name, cable = f"headgate-{number}", f"hg{number}a"
    network = Network(name, cable, f"10.213.{number}.1", f"10.213.{number}.2", f"10.213.{number}.0/30")
    try:
        _ip("netns", "add", name)
    except RuntimeError as error:
        raise NoServer(f"NO NETWORK OF ITS OWN: {error}") from error
    try:
        _ip("link", "add", cable, "type", "veth", "peer", "name", f"hg{number}b", "netns", name)
        _ip("addr", "add", f"{network.ours}/30", "dev", cable)
        _ip("link", "set", cable, "up")
        _ip("-n", name, "addr", "add", f"{network.theirs}/30", "dev", f"hg{number}b")
        _ip("-n", name, "link", "set", f"hg{number}b", "up")
        yield network
    finally:
        # The cable goes with it.
        _ip("netns", "del", name)


def _ip(*words: str) -> None:
    command: Sequence[str] = ["ip", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 -- a fixed program, with names of ours
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr.strip()}")
