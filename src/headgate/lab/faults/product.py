"""Headgate on the stage: participant planes as nodes, keepers beside them, one ledger and one gate."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..servers.process import Server, free_port
from .design import Sale, http_answers

OPEN_FOR = dt.timedelta(hours=1)


class Product:
    """See `headgate.lab.faults.design.Design`."""

    cancels = True

    def __init__(
        self, directory: Path, ledger_url: str, replica_url: str | None, gate_url: str, nodes: int, keepers: int
    ) -> None:
        self._directory = directory
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "HEADGATE_LEDGER__URL": ledger_url,
            "HEADGATE_GATE__URL": gate_url,
            "HEADGATE_SECRET_FILE": str(directory / "secret.key"),
            # The crowd has one address; it is counted all the same.
            "HEADGATE_LIMITS__PER_IP_PER_MINUTE": "100000000",
        }
        if replica_url is not None:
            self.environment["HEADGATE_LEDGER__REPLICA_URLS"] = replica_url
        self.nodes = [self._node(number) for number in range(nodes)]
        self.keepers = [self._plane(f"keeper-{number}", "keeper", "", _runs) for number in range(keepers)]

    def _node(self, number: int) -> Server:
        port = free_port()
        return self._plane(f"node-{number}", "participant", f"127.0.0.1:{port}", http_answers)

    def _plane(self, name: str, plane: str, listen: str, answers: Callable[[str], bool]) -> Server:
        directory = self._directory / name
        directory.mkdir()
        command: list[str | Path] = [
            sys.executable, "-m", "headgate", "serve", "--plane", plane, "--data", directory / "data",
        ]  # fmt: skip
        if listen:
            command += ["--listen", listen]
        log = self._directory / f"{name}.log"
        return Server(command, log, f"http://{listen}", self.environment, answers=answers, user={})

    def begin(self, sale: Sale) -> None:
        opens_at = dt.datetime.fromtimestamp(int(time.time()), dt.UTC)
        file = self._directory / f"{sale.slug}.toml"
        pools = "".join(
            f'\n[[pools]]\nid = "{pool}"\nlabel = {{ en = "{pool}", zh = "{pool}" }}\nunits = {units}\n'
            for pool, units in sale.pools.items()
        )
        file.write_text(
            f'slug = "{sale.slug}"\nkind = "first_come"\ntitle = {{ en = "Fault run", zh = "故障演练" }}\n'
            f"opens_at = {opens_at.isoformat()}\ncloses_at = {(opens_at + OPEN_FOR).isoformat()}\n"
            f'per_person = 1\nrehearsal = true\nverification = "none"\n{pools}',
            encoding="utf-8",
        )
        self._headgate("campaign", "create", str(file))
        self._headgate("rehearsal", "tokens", sale.slug, "--count", str(sale.people), "--out", str(sale.tokens))

    def settle(self, sale: Sale) -> None:
        """Nothing is promised that is not in the ledger."""

    def _headgate(self, *words: str) -> None:
        ran = subprocess.run(  # noqa: S603 -- our own program
            [sys.executable, "-m", "headgate", *words, "--data", str(self._directory / "operator")],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode:
            raise RuntimeError(f"headgate {' '.join(words)} failed:\n{ran.stderr}")


def _runs(_url: str) -> bool:
    """A keeper has no listener; what it does is seen in what it keeps up."""
    return True
