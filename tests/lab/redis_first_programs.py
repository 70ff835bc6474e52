"""The redis-first baseline as it is run: its commands, its processes, and what its ledger says."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import sqlalchemy as sa

from tests.acceptance.client import Api
from tests.acceptance.product import REPO, STOP_S, eventually, free_port, living
from tests.servers import Server

SLUG = "masks"
COMMAND = [sys.executable, "-m", "bench.baselines.redis_first"]
_direct = build_opener(ProxyHandler({}))


def campaign(pools: Mapping[str, int], **fields: Any) -> dict[str, Any]:
    """A campaign that is open now, unless told otherwise."""
    return {
        "slug": SLUG,
        "title": {"en": "Free masks", "zh": "免费口罩"},
        "opens_at": "2020-01-01T00:00:00+08:00",
        "closes_at": "2099-01-01T00:00:00+08:00",
        "pools": [{"id": code, "units": units} for code, units in pools.items()],
        **fields,
    }


class Programs:
    """Processes that share a gate and a ledger; all that were started are ended by `end`."""

    def __init__(self, directory: Path, gate_url: str, ledger_url: str) -> None:
        self._directory = directory
        self._environment = {**os.environ, "REDIS_FIRST_GATE": gate_url, "REDIS_FIRST_LEDGER": ledger_url}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}")
        self.engine = sa.create_engine(ledger_url)

    def set_up(self, content: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        file = self._directory / f"{len(list(self._directory.glob('*.json')))}.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        return subprocess.run(
            [*COMMAND, "setup", "--file", str(file)],
            env=self._environment, cwd=REPO, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def sell(self, pools: Mapping[str, int], **fields: Any) -> None:
        done = self.set_up(campaign(pools, **fields))
        assert done.returncode == 0, done.stderr

    def serve(self) -> None:
        self._start("serve", "--listen", f"127.0.0.1:{self.port}")
        eventually("the listener is ready", self.ready)

    def consume(self) -> subprocess.Popen[bytes]:
        return self._start("consume")

    def ready(self) -> bool:
        with contextlib.suppress(URLError, OSError), _direct.open(f"{self.api.http.base_url}/readyz", timeout=2) as one:
            return bool(one.status == 200)
        return False

    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def mine(self, token: str) -> list[dict[str, Any]]:
        answer = self.api.request(
            "GET", f"/api/v1/campaigns/{SLUG}/claims/mine", headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 200, answer.text
        claims: list[dict[str, Any]] = answer.json()["claims"]
        return claims

    def ledger(self, statement: str) -> list[Any]:
        """The rows, or their only column."""
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(statement).all()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    def written(self) -> set[str]:
        """Ids of the claims in the ledger."""
        return set(self.ledger("SELECT id FROM claim WHERE status = 'confirmed'"))

    def end(self) -> None:
        self.api.close()
        self.engine.dispose()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert not living(process.pid for process in self._processes)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=self._environment,
                cwd=REPO,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.append(process)
        return process


@contextlib.contextmanager
def programs(directory: Path, gate_url: str, postgresql_server: Server, database: str) -> Iterator[Programs]:
    """With a database of their own."""
    admin = sa.create_engine(postgresql_server.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {database}")
    url = sa.make_url(postgresql_server.url).set(database=database)
    made = Programs(directory, gate_url, url.render_as_string(hide_password=False))
    try:
        yield made
    finally:
        made.end()
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {database} WITH (FORCE)")
        admin.dispose()
