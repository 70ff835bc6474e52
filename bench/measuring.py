"""Servers, load and figures for benchmarks.  Loopback only; every run is bounded; only own processes are ended."""

import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import granian

from headgate.cli.examination import sync_latency

ROOT = Path(__file__).parent
HEADGATE = Path(sys.executable).parent / "headgate"
READY_S = 30
CONNECTIONS = 256
TICKS = os.sysconf("SC_CLK_TCK")


class BenchmarkFailed(Exception):
    """A figure that cannot be trusted is no figure."""


def print_environment(directory):
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    print(f"machine   {cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    print(
        f"programs  Python {platform.python_version()}, Granian {granian.__version__}, SQLite {sqlite3.sqlite_version}"
    )
    print(f"disk      {sync_latency(directory).found}")
    print(f"load      {os.getloadavg()[0]:.2f} before the run (above 0.5 the figures are noisy)")


def find_wrk():
    """The load generator: from WRK, from PATH, else from Debian where we may install."""
    for candidate in (os.environ.get("WRK"), shutil.which("wrk")):
        if candidate:
            return candidate
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=False, capture_output=True)
        if shutil.which("wrk"):
            return "wrk"
    raise BenchmarkFailed("wrk is missing; install it (apt install wrk, brew install wrk) or name it in WRK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tree(pid):
    """The process and all its descendants."""
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        with contextlib.suppress(OSError):
            waiting += map(int, Path(f"/proc/{current}/task/{current}/children").read_text().split())
    return found


def cpu_seconds(pid):
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_mb(pid):
    """Of the largest process below `pid`: a worker, not its launcher."""
    sizes = [0.0]
    for member in tree(pid):
        with contextlib.suppress(OSError, StopIteration):
            line = next(line for line in Path(f"/proc/{member}/status").read_text().splitlines() if "VmRSS" in line)
            sizes.append(int(line.split()[1]) / 1024)
    return max(sizes)


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    to_be_killed: bool = False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def check(self):
        if self.process.poll() is not None and not self.to_be_killed:
            raise BenchmarkFailed(f"the server died:\n{self.log.read_text()[-2000:]}")


@contextlib.contextmanager
def serving(command, port, log, ready_path, environment=None):
    """A server process of ours, ended by its id whatever happens; `ready_path` None for one without a listener."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
    server = Server(process, port, log)
    try:
        deadline = time.monotonic() + READY_S
        while ready_path is not None:
            server.check()
            try:
                urllib.request.urlopen(server.url + ready_path, timeout=1).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise BenchmarkFailed(f"{command} was not ready in {READY_S} s") from error
                time.sleep(0.05)
        yield server
        server.check()
    finally:
        family = tree(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Workers that outlive their launcher would take processor time from everything that is measured later.
        for pid in family[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def granian_server(target, log, *, interface="rsgi", environment=None, extra=()):
    port = free_port()
    command = [
        sys.executable, "-m", "granian", "--interface", interface, target, "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--no-ws", "--http", "1", "--loop", "uvloop", *extra,
    ]  # fmt: skip
    return serving(command, port, log, "/", environment)


def headgate_command(plane, data, port, workers=1):
    """One plane alone: what is measured, without the others' processes beside it."""
    command = [str(HEADGATE), "serve", "--plane", plane, "--data", str(data), "--workers", str(workers)]
    return command if port is None else [*command, "--listen", f"127.0.0.1:{port}"]


def headgate_server(data, log, workers=1):
    port = free_port()
    command = headgate_command("participant", data, port, workers)
    return serving(command, port, log, "/readyz", {"HEADGATE_LIMITS__PER_IP_PER_MINUTE": "0"})


@dataclass
class Load:
    """`cpu_ms` is the processor time of all server processes for one request (ms)."""

    requests: int
    rate: float
    p50_ms: float
    p99_ms: float
    refused: int
    cpu_ms: float


def load(server, tokens, pools, *, slug, seconds, connections=CONNECTIONS, skip=0, tokens_in_file):
    """Claims of people who have not claimed yet."""
    path = f"/api/v1/campaigns/{slug}/claims"
    result = _wrk(server, server.url, seconds, connections, "claims.lua", str(tokens), path, str(pools), str(skip))
    if result.requests + connections > tokens_in_file - skip:
        raise BenchmarkFailed(f"{result.requests} requests used up the tokens; make more of them")
    return result


def get(server, path, *, seconds, connections=CONNECTIONS):
    return _wrk(server, server.url + path, seconds, connections, "report.lua")


def _wrk(server, url, seconds, connections, script, *arguments):
    before = cpu_seconds(server.process.pid)
    command = [
        find_wrk(), "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "10", "-s", str(ROOT / script), url,
        "--", *arguments,
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    line = next((line for line in ran.stdout.splitlines() if line.startswith("RESULT ")), None)
    if ran.returncode or line is None:
        raise BenchmarkFailed(f"wrk failed: {ran.stdout}{ran.stderr}")
    server.check()
    result = json.loads(line.removeprefix("RESULT "))
    if result["socket_errors"]:
        raise BenchmarkFailed(f"{result['socket_errors']} connections failed")
    spent = cpu_seconds(server.process.pid) - before
    return Load(
        result["requests"],
        result["requests"] / result["seconds"],
        result["p50_ms"],
        result["p99_ms"],
        result["refused"],
        spent / max(result["requests"], 1) * 1000,
    )


def headgate(*arguments, environment=None):
    ran = subprocess.run(
        [str(HEADGATE), *map(str, arguments)], capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    if ran.returncode:
        raise BenchmarkFailed(f"headgate {' '.join(map(str, arguments))}: {ran.stderr or ran.stdout}")
    return ran.stdout
