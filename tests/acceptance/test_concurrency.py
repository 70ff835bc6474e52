"""How many claims are in progress at once: others are refused, and an adaptive limit follows the ledger."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.acceptance.client import Api, confirmed, refused
from tests.acceptance.product import Server, create_campaign, eventually, served

CONCURRENCY = "HEADGATE_LIMITS__CONCURRENCY"
FREEZE_S = 0.3
"""Longer than an adaptive limit lets anybody wait."""


@contextmanager
def frozen_ledger(server: Server) -> Iterator[None]:
    """The ledger process of its only worker stands still."""
    (pid,) = [
        pid
        for pid in server.processes()
        if b"headgate.bootstrap.ledger_writer" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    ]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def metric(server: Server, name: str) -> float:
    """-1 where the console is not up yet, or nothing has been counted."""
    with contextlib.suppress(httpx2.TransportError), Api(server.console_url) as console:
        found = re.search(rf"^{name} (\S+)$", console.request("GET", "/metrics").text, re.MULTILINE)
        return float(found[1]) if found else -1
    return -1


def test_an_adaptive_limit_falls_where_claims_wait(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_campaign(data, "masks", (("central", 100),))
    adaptive = {CONCURRENCY: "adaptive"}
    with served(data, settings=adaptive) as server, Api(server.url) as api, ThreadPoolExecutor() as pool:
        eventually("the metrics are there", lambda: metric(server, "headgate_concurrency_limit") == 350)
        token = api.session()
        with frozen_ledger(server):
            waiting = pool.submit(api.claim, "masks", token)
            eventually("the claim waits", lambda: metric(server, "headgate_inflight") == 1)
            # How long it stands still is what is tested.
            time.sleep(FREEZE_S)
        confirmed(waiting.result())
        eventually("the limit has fallen", lambda: metric(server, "headgate_concurrency_limit") == 315)


def test_those_who_find_no_place_are_sent_away_at_once_and_come_back_at_different_times(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_campaign(data, "masks", (("central", 100),))
    with served(data, settings={CONCURRENCY: "1"}) as server, Api(server.url) as api, ThreadPoolExecutor() as pool:
        tokens = [api.session() for _ in range(7)]
        with frozen_ledger(server):
            waiting = pool.submit(api.claim, "masks", tokens[0])
            eventually("the claim waits", lambda: metric(server, "headgate_inflight") == 1)
            with Api(server.url) as others:
                answers = [others.claim("masks", token) for token in tokens[1:]]
        confirmed(waiting.result())
        for answer in answers:
            refused(answer, 503, "overloaded")
        assert [int(answer.headers["retry-after"]) for answer in answers] == [1, 2, 3, 1, 2, 3]
