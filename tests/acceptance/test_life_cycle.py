"""Start, stop and restart of a whole installation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.client import Api, confirmed, describe, refused, when
from tests.acceptance.product import Server, create_campaign, eventually, in_s, living


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", workers=2)
    yield server
    server.end()


def test_sigterm_ends_every_process_with_exit_code_0(own: Server) -> None:
    create_campaign(own.data, "masks")
    own.start()
    with Api(own.url) as api:
        confirmed(api.claim("masks", api.session()))
    family = own.processes()
    code = own.terminate()
    assert code == 0, f"exit code {code}\n{own.log()[-1500:]}"
    eventually("no process is left", lambda: not living(family))
    assert "Traceback" not in own.log(), own.log()[-2000:]


def test_sessions_and_claims_outlive_a_restart(own: Server) -> None:
    create_campaign(own.data, "masks", (("central", 9), ("west", 9)))
    own.start()
    with Api(own.url) as api:
        token = api.session()
        claim = confirmed(api.claim("masks", token, key="k"))
    own.terminate()
    own.start()
    with Api(own.url) as api:
        assert [c["id"] for c in api.mine("masks", token)] == [claim["id"]]
        again = api.claim("masks", token, key="k")
        assert again.status_code in (200, 201), describe(again)
        assert again.json()["claim"]["id"] == claim["id"], describe(again)
        refused(api.claim("masks", token, "west", key="k"), 422, "invalid")


CLOCK = """
import time

_shift = -40 * 86_400
_time, _time_ns, _clock = time.time, time.time_ns, time.clock_gettime
time.time = lambda: _time() + _shift
time.time_ns = lambda: _time_ns() + _shift * 10**9
time.clock_gettime = lambda clock: _clock(clock) + (_shift if clock == time.CLOCK_REALTIME else 0)
"""


def test_a_token_of_forty_days_ago_is_no_session(own: Server, tmp_path: Path) -> None:
    """The first run lives forty days in the past, by a start-up file of the interpreter."""
    (tmp_path / "past").mkdir()
    (tmp_path / "past" / "sitecustomize.py").write_text(CLOCK)
    create_campaign(own.data, "masks", opens_at=in_s(-90 * 86_400), closes_at=in_s(90 * 86_400))
    own.settings = {"PYTHONPATH": str(tmp_path / "past")}
    own.start()
    with Api(own.url) as api:
        behind = datetime.now(UTC) - when(api.state("masks")["server_time"])
        assert behind > timedelta(days=39), f"the clock is only {behind} behind: the test shows nothing"
        token = api.session()
        confirmed(api.claim("masks", token))
    own.end()
    own.settings = {}
    own.start()
    with Api(own.url) as api:
        refused(api.claim("masks", token), 401, "no_session")
        confirmed(api.claim("masks", api.session()))
