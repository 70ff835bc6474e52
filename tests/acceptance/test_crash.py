"""kill -9 in the middle of a rush: what was confirmed stays, nothing is sold twice, and it comes back by itself.

Moments are drawn from a seed that every failure prints; `TEST_SEED` replays one.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.acceptance.client import Api
from tests.acceptance.crowd import Rush, Told, tally
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import (
    READY_S,
    STOP_S,
    Server,
    create_campaign,
    eventually,
    living,
    rehearsal_tokens,
    run_cli,
)

SEED = int(os.environ.get("TEST_SEED", "20261201"))
STOCK = {"north": 150, "south": 150}
SLUG = "crash"

PROCESSES = 9
"""Supervisor; participant plane, two workers, a ledger process for each; console and its worker; keeper."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data", workers=2)
    create_campaign(server.data, SLUG, tuple(STOCK.items()), rehearsal=True)
    yield server
    server.end()


def crowd_of(server: Server, count: int = 900) -> list[Told]:
    tokens = rehearsal_tokens(server.data, SLUG, count)
    return [Told(token, ("north", "south")[n % 2], key=f"k{n}") for n, token in enumerate(tokens)]


def strike(dice: random.Random, blow: signal.Signals, victims: Sequence[int]) -> None:
    """Within 8 ms, so that the blow falls at any point of a batch under way."""

    def fall() -> None:
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, blow)

    threading.Timer(dice.uniform(0, 0.008), fall).start()


def nothing_was_lost(server: Server, people: Sequence[Told], context: str) -> None:
    """Every claim that anybody saw confirmed is in the ledger and is shown to its owner."""
    ledger = Ledger(server.data)
    ledger.check(SLUG)
    rows = ledger.confirmed(SLUG)
    told = [(person, claim) for person in people for claim in set(person.claim_ids)]
    lost = [claim for _, claim in told if claim not in rows]
    assert not lost, f"{len(lost)} of {len(told)} confirmed claims are gone after {context}"
    with Api(server.url) as api:
        for person, claim in told:
            mine = [c["id"] for c in api.mine(SLUG, person.token)]
            assert mine == [claim], f"told {claim}, `mine` shows {mine} after {context}"
    audit = run_cli("audit", SLUG, "--json", data=server.data).json()
    assert audit["ok"] is True, f"{audit} after {context}"


def everything_is_sold(server: Server, people: Sequence[Told], context: str) -> None:
    """The crowd comes again with the same keys: the rest is sold to the last unit, and nobody has two."""

    def sold_out() -> bool:
        Rush(server.url, SLUG).run(people)
        return all(pool.remaining == 0 for pool in Ledger(server.data).check(SLUG).values())

    eventually(f"all units are sold after {context}", sold_out)
    assert {code: pool.taken for code, pool in Ledger(server.data).check(SLUG).items()} == STOCK
    assert all(len(set(person.claim_ids)) <= 1 for person in people), "two claims for one person and key"


def test_kill_9_of_everything_in_the_middle_of_a_rush(house: Server) -> None:
    dice = random.Random(SEED)
    people = crowd_of(house)
    first_start_s = 0.0  # A busy machine is slow at every start.
    for round_ in range(2):
        house.start()
        first_start_s = first_start_s or house.start_s
        context = f"kill -9 of everything, seed {SEED}, round {round_}"
        family, moment = house.processes(), dice.randint(5, 60)
        rush = Rush(house.url, SLUG, patience_s=0)
        rush.on_confirmed = lambda n, at=moment, all_=family: strike(dice, signal.SIGKILL, all_) if n == at else None
        rush.run(people)
        assert rush.confirmations >= moment, f"the rush ended before the blow: {tally(people)}"
        house.kill_everything()
        assert not living(family)
    house.start()
    # On a machine that is busy with other tests, a start takes its time; what it took before the crash says how much.
    allowed_s = max(READY_S, 5 * first_start_s)
    assert house.start_s < allowed_s, f"ready {house.start_s:.1f} s after a crash, {allowed_s:.1f} s allowed"
    nothing_was_lost(house, people, context)
    everything_is_sold(house, people, context)


def test_kill_9_of_each_single_child_is_mended_without_an_operator(house: Server) -> None:
    dice = random.Random(SEED + 1)
    people = crowd_of(house)
    house.start()
    eventually("every process is there", lambda: len(house.processes()) == PROCESSES)
    children = house.processes()[1:]
    dice.shuffle(children)
    moments = sorted(dice.sample(range(5, 250), len(children)))
    blows = dict(zip(moments, children, strict=True))
    patience_s = max(READY_S, 2 * house.start_s)
    rush = Rush(house.url, SLUG, patience_s=patience_s)
    rush.on_confirmed = lambda n: strike(dice, signal.SIGKILL, [blows[n]]) if n in blows else None
    rush.run(people)
    context = f"kill -9 of {len(children)} children at {moments}, seed {SEED}"
    eventually("every struck child has ended", lambda: not living(children))
    eventually("ready again", house.ready)
    eventually("as many processes as before", lambda: len(house.processes()) == PROCESSES)
    never = [person for person in people if person.status not in (200, 201, 409)]
    assert not never, (
        f"{len(never)} people got no final answer within {patience_s:.1f} s: {tally(people)} after {context}"
    )
    nothing_was_lost(house, people, context)
    everything_is_sold(house, people, context)


def test_kill_9_of_the_started_process_leaves_no_orphan_that_serves(house: Server) -> None:
    dice = random.Random(SEED + 2)
    people = crowd_of(house)
    house.start()
    assert house.process is not None
    family, root = house.processes(), house.process.pid
    rush = Rush(house.url, SLUG, patience_s=0)
    rush.on_confirmed = lambda n: strike(dice, signal.SIGKILL, [root]) if n == 40 else None
    rush.run(people)
    house.process.wait(STOP_S)
    eventually("the children of a killed server end by themselves", lambda: not living(family))
    house.start()
    context = f"kill -9 of the started process, seed {SEED}"
    nothing_was_lost(house, people, context)
    everything_is_sold(house, people, context)


def test_sigterm_in_the_middle_of_a_rush_loses_nothing(house: Server) -> None:
    people = crowd_of(house)
    house.start()
    assert house.process is not None
    root = house.process.pid
    rush = Rush(house.url, SLUG, patience_s=0)
    rush.on_confirmed = lambda n: os.kill(root, signal.SIGTERM) if n == 30 else None
    rush.run(people)
    assert house.process.wait(15) == 0, house.log()[-2000:]
    house.start()
    nothing_was_lost(house, people, "SIGTERM")
    everything_is_sold(house, people, "SIGTERM")


def test_ctrl_c_ends_everything_quietly(house: Server) -> None:
    house.start()
    assert house.process is not None
    family = house.processes()
    # A terminal sends it to its whole foreground group.
    os.killpg(house.process.pid, signal.SIGINT)
    assert house.process.wait(STOP_S) == 0
    eventually("nothing runs on", lambda: not living(family))
    log = house.log().lower()
    assert not any(word in log for word in ("traceback", "error", "unexpected")), log
