"""Holds a crowd's connections at a rendered edge and lets all of them ask at the opening."""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import msgspec

from ..servers.nginx import nginx, nginx_program
from ..servers.process import Server, descendants, free_port
from .holder import SOURCES, Asked

FILES_SPARED = 1_000
"""Open files of a process that are no connections."""

EVEN = 0.85
"""Connections come to worker processes by chance, so that some have more of them than others."""

OPENS_IN_S = 8
"""From when the campaign is made: it has to be published, and the moment is to be met."""

PUBLISHED_S = 30.0

SLUG = "crowd"

FIRST_SOURCE = ip_address("127.0.1.0")
"""All of 127.0.0.0/8 is this machine."""


class Told(msgspec.Struct):
    """What a crowd of `connections` saw; times in ms, memory in MB (of nginx, and of the whole machine)."""

    connections: int
    edge_workers: int
    connecting_s: float
    first_p99_ms: float
    opening_s: float
    opening_p50_ms: float
    opening_p99_ms: float
    opening_max_ms: int
    answers: dict[str, int]
    errors: dict[str, int]
    nginx_mb: float
    machine_mb: float
    per_connection_kb: float

    @property
    def ok(self) -> bool:
        return not self.errors and sum(self.answers.values()) == self.connections


class HoldingFailed(Exception):
    """The crowd could not be set up; the message says why."""


def hold(directory: Path, connections: int, say: Callable[[str], None]) -> Told:
    """Raises HoldingFailed, NoServer."""
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - FILES_SPARED
    workers = -(-connections // int(room * EVEN))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONUNBUFFERED": "1",
        "HEADGATE_PUBLIC_DIR": str(directory / "public"),
        "HEADGATE_TRUSTED_PROXIES": "127.0.0.0/8",
        "HEADGATE_EDGE__USER": getpass.getuser(),
        "HEADGATE_EDGE__WORKERS": str(workers),
        "HEADGATE_EDGE__CONNECTIONS": str(room),
        **{f"HEADGATE_EDGE__{name.upper()}_DIR": str(directory / name) for name in ("log", "cache", "run")},
    }
    for name in ("log", "cache", "run"):
        (directory / name).mkdir()
    house = _House(directory, environment)
    with house.serving() as url:
        # Something to ask for before: the state of a campaign that opens much later.
        house.create("before", 3_600)
        house.published("before")
        free_before_mb = _available_mb()
        with _crowd(url, connections, room) as holders:
            say(f"{connections} connections to {workers} worker processes of nginx …")
            began_s = time.monotonic()
            first = _all(holders, "connect /api/v1/campaigns/before")
            connecting_s = time.monotonic() - began_s
            nginx_mb, machine_mb = house.edge_mb(), free_before_mb - _available_mb()
            say(f"{len(first.took_ms)} are there after {connecting_s:.1f} s; the campaign opens in {OPENS_IN_S} s …")
            opens_s = house.create(SLUG, OPENS_IN_S)
            house.published(SLUG)
            time.sleep(max(0.0, opens_s - time.time()))
            began_s = time.monotonic()
            opening = _all(holders, f"ask /api/v1/campaigns/{SLUG}")
            opening_s = time.monotonic() - began_s
    errors = Counter(first.errors) + Counter(opening.errors)
    cuts = statistics.quantiles(opening.took_ms or [0, 0], n=100)
    return Told(
        connections, workers, round(connecting_s, 1), statistics.quantiles(first.took_ms or [0, 0], n=100)[98],
        round(opening_s, 1), cuts[49], cuts[98], max(opening.took_ms, default=0), opening.phases, dict(errors),
        round(nginx_mb, 1), round(machine_mb, 1), round(nginx_mb * 1024 / connections, 2),
    )  # fmt: skip


class _House:
    """A node, what it publishes, and the edge before it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self._edge: Server

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        node, edge = free_port(), free_port()
        self._environment |= {
            "HEADGATE_LISTEN": f"127.0.0.1:{node}",
            "HEADGATE_EDGE__LISTEN": f"127.0.0.1:{edge}",
        }
        self._headgate("edge", "render", "--out", str(self._directory / "etc"), "--nginx", str(nginx_program()))
        command: list[str | Path] = [
            sys.executable, "-m", "headgate", "serve", "--data", self._directory / "data",
            "--console", f"127.0.0.1:{free_port()}",
        ]  # fmt: skip
        url = f"http://127.0.0.1:{edge}"
        log = self._directory / "node.log"
        serving = Server(command, log, url, self._environment, answers=lambda _: True, user={})
        serving.start()
        try:
            configuration = self._directory / "etc/nginx/nginx.conf"
            with nginx(configuration, url, self._directory / "nginx.log") as self._edge:
                yield url
        finally:
            serving.stop()

    def create(self, slug: str, opens_in_s: int) -> float:
        """The moment at which it opens (s)."""
        opens_s = int(time.time()) + opens_in_s
        opens, closes = (dt.datetime.fromtimestamp(at, dt.UTC).isoformat() for at in (opens_s, opens_s + 3_600))
        file = self._directory / f"{slug}.toml"
        file.write_text(
            f'slug = "{slug}"\nkind = "first_come"\ntitle = {{ en = "A crowd", zh = "人群" }}\n'
            f"opens_at = {opens}\ncloses_at = {closes}\n"
            '[[pools]]\nid = "central"\nlabel = { en = "Central", zh = "中心" }\nunits = 500\n',
            encoding="utf-8",
        )
        self._headgate("campaign", "create", str(file), "--data", str(self._directory / "data"))
        return opens_s

    def published(self, slug: str) -> None:
        """Wait until the edge has it."""
        file = self._directory / "public" / "state" / f"{slug}.json"
        until_s = time.monotonic() + PUBLISHED_S
        while not file.exists():
            if time.monotonic() > until_s:
                raise HoldingFailed(f"{file} was not published within {PUBLISHED_S:g} s")
            time.sleep(0.05)

    def edge_mb(self) -> float:
        """Memory of all processes of nginx, what they share counted once (PSS)."""
        assert self._edge.process is not None
        family = [self._edge.process.pid, *descendants(self._edge.process.pid)]
        return sum(_pss_kb(pid) for pid in family) / 1024

    def _headgate(self, *words: str) -> None:
        ran = subprocess.run(  # noqa: S603 -- our own program
            [sys.executable, "-m", "headgate", *words],
            env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode:
            raise HoldingFailed(f"headgate {' '.join(words)} failed: {ran.stderr.strip()}")


@contextlib.contextmanager
def _crowd(url: str, connections: int, room: int) -> Iterator[list[subprocess.Popen[str]]]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    processes = -(-connections // room)
    holders = []
    try:
        for number in range(processes):
            count = connections // processes + (number < connections % processes)
            source = str(FIRST_SOURCE + number * SOURCES)
            command = [sys.executable, "-m", "headgate.lab.holding.holder", host, port, str(count), source]
            holders.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 -- our own program
            )
        yield holders
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def _all(holders: Sequence[subprocess.Popen[str]], command: str) -> Asked:
    """What all of them together say to one command.  Raises HoldingFailed."""
    for holder in holders:
        assert holder.stdin is not None
        print(command, file=holder.stdin, flush=True)
    together = Asked([])
    phases, errors = Counter[str](), Counter[str]()
    for holder in holders:
        assert holder.stdout is not None
        line = holder.stdout.readline()
        if not line:
            raise HoldingFailed(f"a process of the crowd ended with exit code {holder.wait()} at `{command}`")
        one = msgspec.json.decode(line, type=Asked)
        together.took_ms += one.took_ms
        phases.update(one.phases)
        errors.update(one.errors)
    together.phases, together.errors = dict(phases), dict(errors)
    return together


def _pss_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _available_mb() -> float:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    return 0.0
