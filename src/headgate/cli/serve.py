"""`headgate serve`."""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import structlog
from cyclopts import Parameter

from headgate.bootstrap.logs import set_up_logging
from headgate.ports.gate import GateUnusable
from headgate.services.processes import die_with_parent
from headgate.settings import MEMORY_GATE, Address, Settings
from headgate.supervision import AlreadyRunning, Supervisor, lock

from .examination import port_free
from .options import COMMON, CommandError, Common

PLANES = ("participant", "console", "keeper", "consumer")
SERVE_LOCK = "serve.lock"
PARTICIPANT_LOCK = "participant.lock"
"""Held by the one participant plane of a data directory: a gate may refuse by itself only where no other grants."""

END_WAIT_S = 3.0
"""How long processes that were just killed may take to end, and to give back ports and locks."""

READY_WAIT_S = 30.0

_log = structlog.get_logger("headgate")

PlaneName = Literal["participant", "console", "keeper", "consumer"]


def serve(
    *,
    listen: Annotated[str | None, Parameter(help="HOST:PORT of the participant plane.")] = None,
    console: Annotated[str | None, Parameter(help="HOST:PORT of the console.")] = None,
    workers: Annotated[int | None, Parameter(help="Worker processes of the participant plane.")] = None,
    plane: Annotated[PlaneName | None, Parameter(help="Run one plane alone.")] = None,
    # The process id of the supervisor, which has prepared the data directory; not for people.
    supervisor: Annotated[int | None, Parameter(show=False)] = None,
    common: Common = COMMON,
) -> None:
    """Serve participants, the console, the keeper's duties and what waits in queues until stopped.

    Example: `headgate serve --data /var/lib/headgate --listen 0.0.0.0:8000`
    """
    settings = load(common, listen, console, workers)
    set_up_logging()
    if plane is not None:
        if supervisor is not None:
            die_with_parent(supervisor)
        else:
            _prepare(settings)
        run_plane(plane, settings)
        return

    def announce() -> None:
        if wait_ready(settings):
            _log.info(
                "ready", participants=f"http://{settings.listen_address}", console=f"http://{settings.console_address}"
            )

    serve_all(settings, common, announce)


def load(common: Common, listen: str | None, console: str | None, workers: int | None) -> Settings:
    return common.load(listen=listen, console={"listen": console} if console else None, workers=workers)


def serve_all(settings: Settings, common: Common, ready: Callable[[], None] | None = None) -> None:
    """Prepare the data directory and serve it, alone; `ready` is called beside it once the planes are started."""
    from headgate.bootstrap import ledger

    ledger.prepare_directory(settings)
    with _held(settings.run_dir / SERVE_LOCK):
        # A participant plane that was started alone would hold what ours is about to take.
        with _held(settings.run_dir / PARTICIPANT_LOCK):
            pass
        for name, address in (("listen", settings.listen_address), ("console.listen", settings.console_address)):
            _wait_free(name, address)
        _prepare(settings)
        Supervisor(plane_commands(settings, common)).run(ready)


def _prepare(settings: Settings) -> None:
    """Raises CommandError where a store cannot be used, SettingsError where a webhook cannot."""
    from headgate.bootstrap import events, gate, ledger

    events.check_events(settings)
    try:
        gate.prepare_gate(settings)
    except GateUnusable as error:
        raise CommandError(str(error)) from error
    ledger.prepare_data(settings)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock file; raises CommandError where somebody who is not about to end holds it."""
    deadline = time.monotonic() + END_WAIT_S
    while True:
        try:
            held = lock(path)
            break
        except AlreadyRunning as error:
            if time.monotonic() > deadline:
                raise CommandError(str(error)) from error
            time.sleep(0.1)
    with held:
        yield


def wait_ready(settings: Settings) -> bool:
    """Until both listeners answer; False where they do not within READY_WAIT_S."""
    deadline = time.monotonic() + READY_WAIT_S
    for address in (settings.listen_address, settings.console_address):
        while not _answers(f"http://{address}/readyz"):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    return True


def _answers(url: str) -> bool:
    # Without the proxies of the environment: they don't lead to this machine's own listeners.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1):
            return True
    except OSError:
        return False


def _wait_free(name: str, address: Address) -> None:
    """Raises CommandError where the port stays taken; planes that were just killed need a moment to end."""
    deadline = time.monotonic() + END_WAIT_S
    while (finding := port_free(name, address)).verdict == "failing":
        if time.monotonic() > deadline:
            raise CommandError(f"{name} cannot be used: {finding.found}; {finding.advice}")
        time.sleep(0.1)


def plane_commands(settings: Settings, common: Common) -> dict[str, Sequence[str]]:
    """The command line of each plane: the same settings, one plane."""
    base = [
        sys.executable, "-m", "headgate", "serve",
        "--listen", settings.listen,
        "--console", settings.console.listen,
        "--workers", str(settings.workers),
        "--data", settings.data_dir,
    ]  # fmt: skip
    if common.config is not None:
        base += ["--config", str(common.config)]
    # Where nodes share nothing, nothing waits for a consumer.
    planes = [name for name in PLANES if name != "consumer" or settings.gate.url != MEMORY_GATE]
    return {name: [*base, "--plane", name, "--supervisor", str(os.getpid())] for name in planes}


def run_plane(plane: PlaneName, settings: Settings) -> None:
    """Each plane imports its own frameworks only."""
    match plane:
        case "participant":
            from headgate.bootstrap.participant import run_participant

            with _held(settings.run_dir / PARTICIPANT_LOCK):
                run_participant(settings)
        case "console":
            from headgate.bootstrap.console import run_console

            run_console(settings)
        case "keeper":
            from headgate.bootstrap.keeper import run_keeper

            run_keeper(settings)
        case "consumer":
            from headgate.bootstrap.consumer import run_consumer

            run_consumer(settings)
