"""The product as its users meet it: a command, its processes, and the files it is given.

Nothing here imports the package under test. Every process is started in a session of its own and is ended by its
process id; `Server.processes()` finds the descendants through /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from tests.acceptance.client import Api

REPO = Path(__file__).resolve().parents[2]
START_S = 30.0
"""A first start on a busy machine may take longer than recovery is allowed to."""
READY_S = 10.0
"""Recovery without an operator takes at most this long."""
STOP_S = 15.0
PATIENCE_S = 1.0
"""How long the end of a test waits for a polite stop; that it works is a test of its own."""
DATABASE_PAGE_BYTES = 4096
_T = TypeVar("_T")
_K = TypeVar("_K")
_call_s: list[float] = []
_direct = build_opener(ProxyHandler({}))


def headgate_command() -> Path:
    """Path of the installed command; the virtual environment that runs the tests comes first."""
    for candidate in (Path(sys.executable).parent / "headgate", REPO / ".venv" / "bin" / "headgate"):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"no `headgate` command beside {sys.executable}: run `make install` first")


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's environment: nothing of the caller's Headgate settings, a wide plain terminal, no per-IP limit."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEADGATE_") and k.lower() != "http_proxy"}
    env |= {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
    env["HEADGATE_LIMITS__PER_IP_PER_MINUTE"] = "0"
    return env | dict(settings or {})


def eventually(what: str, probe: Callable[[], _T | None], *, within_s: float = START_S) -> _T:
    """Poll until `probe` gives something true and return it; AssertionError naming `what` after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what} (last seen: {found!r})")
        time.sleep(0.02)


@dataclass(frozen=True)
class Ran:
    """What one call of the command left behind."""

    args: tuple[str, ...]
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ headgate {' '.join(self.args)}\nexit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def ok(self) -> Ran:
        assert self.code == 0, f"expected success\n{self}"
        return self

    def failed(self, *named: str, codes: Sequence[int] = (1, 2)) -> Ran:
        """A clean failure: an exit code of the contract, a message that names all of `named`, and no traceback."""
        assert self.code in codes, f"expected exit code {codes}\n{self}"
        text = self.err + self.out
        assert "Traceback (most recent call last)" not in text, f"a stack trace instead of a message\n{self}"
        assert self.err.strip(), f"nothing on standard error\n{self}"
        flat = " ".join(text.split())
        for word in named:
            assert word in text or word in flat, f"the message does not name {word!r}\n{self}"
        return self

    def json(self) -> Any:
        self.ok()
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"not JSON ({error})\n{self}") from None


def run_cli(*args: str | Path, data: Path | None = None, settings: Mapping[str, str] | None = None) -> Ran:
    """Run `headgate ARGS [--data DATA]` to its end (60 s at most)."""
    words = [str(a) for a in args] + (["--data", str(data)] if data else [])
    began = time.monotonic()
    done = subprocess.run(
        [str(headgate_command()), *words],
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
        cwd=data.parent if data else None,
    )
    _call_s.append(time.monotonic() - began)
    return Ran(
        tuple(words), done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def run_side_by_side(calls: Mapping[_K, tuple[str | Path, ...]], data: Path) -> dict[_K, Ran]:
    """Run many calls of the command, as many at a time as there are cores: most of one is the interpreter's start."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(calls, pool.map(lambda args: run_cli(*args, data=data), calls.values()), strict=True))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stat(pid: int) -> tuple[str, int, int] | None:
    """(state, parent, session) of a process, or None where it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, _group, session = text[text.rindex(")") + 2 :].split()[:4]
    return state, int(parent), int(session)


def living(pids: Iterable[int]) -> list[int]:
    """Those of `pids` that still run (a zombie does not)."""
    return [p for p in pids if (s := _stat(p)) is not None and s[0] not in "ZX"]


@dataclass
class Server:
    """`headgate serve` on two free ports."""

    data: Path
    workers: int = 1
    settings: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    """Variables that `environment` sets and that this server must not see."""
    port: int = field(default_factory=free_port)
    console_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    start_s: float = 0.0
    """How long the last start took until it was ready."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def console_url(self) -> str:
        return f"http://127.0.0.1:{self.console_port}"

    @property
    def log_path(self) -> Path:
        return self.data.parent / f"serve-{self.port}.log"

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process and wait for nothing."""
        command = [
            str(headgate_command()), "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}",
            "--console", f"127.0.0.1:{self.console_port}", "--workers", str(self.workers), *self.extra,
        ]  # fmt: skip
        env = {k: v for k, v in environment(self.settings).items() if k not in self.defaults}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.data.parent,
            )
        return self.process

    def start(self) -> Server:
        """Start and wait until `/readyz` answers 200."""
        began = time.monotonic()
        self.launch()
        try:
            eventually("/readyz answers 200", self.ready)
            self.start_s = time.monotonic() - began
        except AssertionError as error:
            self.end()
            raise AssertionError(f"{error}\n{self.log()[-4000:]}") from None
        return self

    def must_not_start(self) -> str:
        """Launch, expect that it gives up by itself with a failure; what it wrote."""
        process = self.launch()
        try:
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {STOP_S:g} s\n{self.log()[-2000:]}") from None
        finally:
            self.end()
        assert code in (1, 2), f"exit code {code}\n{self.log()[-2000:]}"
        return self.log()

    def ready(self) -> bool:
        """Whether `/readyz` answers 200; an AssertionError where the process has ended already."""
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"the server ended with exit code {code}"
        try:
            with _direct.open(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def processes(self) -> list[int]:
        """Process ids of the whole tree, the started process first."""
        assert self.process is not None
        root, table = self.process.pid, {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (stat := _stat(int(entry.name))) and stat[0] not in "ZX":
                table[int(entry.name)] = stat
        family = {root}
        while grown := {p for p, (_, parent, session) in table.items() if parent in family or session == root} - family:
            family |= grown
        return [root] * (root in table) + sorted(p for p in family if p != root and p in table)

    def resident_kb(self) -> int:
        """Resident memory of all its processes, in KiB."""
        total = 0
        for pid in self.processes():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        return total

    def kill_everything(self) -> None:
        """kill -9 of every process of the tree at once, as a power switch would."""
        assert self.process is not None
        family = self.processes()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self.process.wait(STOP_S)

    def terminate(self) -> int:
        """SIGTERM to the started process; its exit code. AssertionError where it does not end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"SIGTERM did not end the server within {STOP_S:g} s\n{self.log()[-2000:]}") from None

    def end(self) -> None:
        """Leave nothing behind: SIGTERM, then SIGKILL for whatever of the tree still runs."""
        if self.process is None:
            return
        family = self.processes()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_S)
        for pid in living({*family, *self.processes()}):
            _signal(pid, signal.SIGKILL)
        self.process.wait(STOP_S)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def after_the_next_call() -> str:
    """A TOML date-time when a campaign that is created now will surely be known; later on a busy machine."""
    return in_s(2 + 3 * max(_call_s[-5:], default=2.0))


def in_s(seconds: float) -> str:
    """A TOML date-time `seconds` from now, with its zone."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def campaign_toml(
    slug: str,
    pools: Sequence[tuple[str, int]] = (("central", 500),),
    *,
    opens_at: str | None = None,
    closes_at: str | None = None,
    per_person: int = 1,
    rehearsal: bool = False,
    verification: str = "none",
    limits: str = "{}",
    mode: str = "immediate",
) -> str:
    """A campaign file as the contract shows it, open now unless told otherwise."""
    lines = [
        f'slug = "{slug}"',
        'kind = "first_come"',
        'title = { en = "Free masks", zh = "免费口罩" }',
        f"opens_at = {opens_at or in_s(-3600)}",
        f"closes_at = {closes_at or in_s(7200)}",
        f"per_person = {per_person}",
        f"rehearsal = {str(rehearsal).lower()}",
        f'verification = "{verification}"',
        f"limits = {limits}",
        f'mode = "{mode}"',
    ]
    for code, units in pools:
        lines += [
            "[[pools]]",
            f'id = "{code}"',
            f'label = {{ en = "Shop {code}", zh = "药房 {code}" }}',
            f"units = {units}",
        ]
    return "\n".join(lines) + "\n"


def create_campaign(
    data: Path, slug: str, pools: Sequence[tuple[str, int]] = (("central", 500),), **options: Any
) -> str:
    """Create an open campaign through the command line; returns its slug."""
    file = data.parent / f"{slug}.toml"
    file.write_text(campaign_toml(slug, pools, **options), encoding="utf-8")
    run_cli("campaign", "create", file, data=data).ok()
    return slug


def damage_ledger(data: Path) -> None:
    """Leave the first page of a ledger that nobody has open, which names its tables, and spoil all the others."""
    for rest in data.glob("ledger.db-*"):
        rest.unlink()
    ledger = data / "ledger.db"
    whole = ledger.read_bytes()
    assert len(whole) > DATABASE_PAGE_BYTES, "there is nothing to spoil"
    ledger.write_bytes(whole[:DATABASE_PAGE_BYTES] + b"\xa5" * (len(whole) - DATABASE_PAGE_BYTES))


@contextlib.contextmanager
def served(data: Path, **options: Any) -> Iterator[Server]:
    server = Server(data, **options)
    try:
        yield server.start()
    finally:
        server.end()


def opened(server: Server, api: Api, slug: str, pools: Sequence[tuple[str, int]], **options: Any) -> str:
    """Create a campaign beside a running server and wait until that serves it as open; returns its slug."""
    create_campaign(server.data, slug, pools, **options)
    eventually(f"{slug} is open", lambda: api.phase(slug) == "open")
    return slug


def rehearsal_tokens(data: Path, slug: str, count: int) -> list[str]:
    """Session tokens of `count` synthetic verified participants of a rehearsal campaign."""
    file = data.parent / f"{slug}-{count}.tokens"
    run_cli("rehearsal", "tokens", slug, "--count", str(count), "--out", file, data=data).ok()
    tokens = file.read_text().split()
    assert len(tokens) == count, f"asked for {count} tokens, got {len(tokens)} lines"
    return tokens
