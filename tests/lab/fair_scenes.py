"""What a judge must let pass: races, delays and losses that look wrong at first sight."""

from __future__ import annotations

from collections.abc import Callable

from tests.lab.scenes import T0, Scene, ms

FAIR: dict[str, Callable[[Scene], None]] = {}


def fair(function: Callable[[Scene], None]) -> Callable[[Scene], None]:
    FAIR[function.__name__] = function
    return function


def rush() -> Scene:
    """Twins, doubts, retries, cancellations, people who come too late, and a quiet pool."""
    scene = Scene({"north": 3, "south": 2})
    scene.claim("early", -1, "409 not_open")
    a = scene.confirm("a", 1, key="k1")
    scene.claim("a", 1.1, "200 confirmed", a, key="k1")
    # A twin whose answer came first although it was sent last, and a repetition with another key.
    b = scene.row("b", at=2.2)
    scene.claim("b", 2.1, "201 confirmed", b, key="k2", answered=T0 + 2.3)
    scene.claim("b", 2.0, "200 confirmed", b, key="k2", answered=T0 + 2.9)
    scene.claim("b", 5.0, "200 confirmed", b, key="k3")
    # Committed, although the answer was lost.
    c = scene.row("c", at=3.3)
    scene.claim("c", 3.0, "lost", key="k4")
    scene.confirm("d", 3.4, "south")
    scene.mine("c", 4.0, c)
    scene.claim("c", 4.5, "200 confirmed", c, key="k4")
    scene.claim("early", 4.6, "409 sold_out")
    # Doubts that came to nothing.
    scene.claim("e", 4.0, "503 unknown")
    scene.claim("e", 4.1, "503 overloaded")
    scene.mine("e", 4.8)
    scene.claim("e", 5.0, "409 sold_out")
    # A unit comes back, and goes to somebody who had lost.
    scene.end(a, 20.1)
    scene.cancel("a", 19.5, a, "lost")
    scene.cancel("a", 20.5, a)
    scene.claim("f", 20.9, "409 sold_out")
    scene.confirm("early", 25, key="k5")
    scene.claim("a", 30, "409 sold_out", key="k6")
    scene.claim("a", 31, "200 confirmed", a, key="k1")
    scene.mine("a", 32, a)
    scene.claim("d", 33, "409 limit_reached", pool="north")
    return scene


@fair
def a_lost_attempt_made_it_long_before_it_was_told(scene: Scene) -> None:
    """So its seq is lower than that of a claim that was told before the second attempt was sent."""
    row = scene.row("a", at=1.2)
    scene.claim("a", 1, "lost")
    scene.confirm("b", 1.3)
    scene.claim("a", 5, "200 confirmed", row)


@fair
def a_frozen_server_did_later_what_a_client_had_given_up(scene: Scene) -> None:
    """It had refused the second attempt by then, a unit came back, and the first one took it. Nobody was told."""
    row = scene.confirm("b", 0.1, "south")
    scene.claim("a", 1, "lost", pool="south")
    scene.claim("a", 2, "409 sold_out", pool="south")
    scene.end(row, 3.2)
    scene.cancel("b", 3, row)
    scene.row("a", "south", at=3.4)
    scene.confirm("c", 4)


@fair
def a_key_was_answered_with_a_claim_that_it_had_not_made(scene: Scene) -> None:
    """It is free then, and made one when that had been cancelled."""
    first = scene.confirm("a", 1, key="k1")
    scene.claim("a", 2, "200 confirmed", first, key="k2")
    scene.end(first, 3.2)
    scene.cancel("a", 3, first)
    scene.confirm("a", 4, key="k2")
    scene.claim("a", 5, "200 confirmed", first, key="k1")


@fair
def a_lost_cancellation_was_carried_out(scene: Scene) -> None:
    row = scene.confirm("a", 1)
    scene.end(row, 3)
    scene.cancel("a", 2, row, "lost")
    scene.mine("a", 4, row)


@fair
def a_lost_cancellation_was_not_carried_out(scene: Scene) -> None:
    scene.cancel("a", 2, scene.confirm("a", 1), "lost")


@fair
def a_cancellation_overtook_a_refusal(scene: Scene) -> None:
    row = scene.confirm("a", 1, "south")
    scene.end(row, 2.3)
    scene.cancel("a", 2.2, row)
    scene.confirm("b", 2.3, "south")
    scene.claim("a", 2.1, "409 sold_out", pool="south", answered=T0 + 3)


@fair
def the_last_unit_came_back_a_moment_ago(scene: Scene) -> None:
    row = scene.confirm("a", 1, "south")
    scene.end(row, 2.2)
    scene.cancel("a", 2, row)
    scene.claim("b", 3, "409 sold_out", pool="south")


@fair
def an_operator_added_units_after_the_rush(scene: Scene) -> None:
    scene.confirm("a", 1, "south")
    scene.claim("b", 2, "409 sold_out", pool="south")
    scene.operations.append({"id": 2, "at": ms(60)})
    scene.pool("south")["capacity"] += 4
    scene.pool("south")["remaining"] += 4
    scene.claim("b", 61, "409 sold_out", pool="south")
    scene.confirm("c", 90, "south")


@fair
def an_operator_paused_and_closed(scene: Scene) -> None:
    scene.campaign["control"] = "closed"
    scene.operations += [{"id": 2, "at": ms(5)}, {"id": 3, "at": ms(9)}]
    a = scene.confirm("a", 1)
    scene.claim("b", 6, "409 paused")
    scene.claim("c", 20, "409 closed")
    scene.claim("a", 21, "200 confirmed", a)


@fair
def a_worker_with_a_late_clock_said_not_yet(scene: Scene) -> None:
    scene.confirm("a", 0.1)
    scene.claim("b", 1, "409 not_open")


@fair
def a_twin_in_flight_took_the_only_place(scene: Scene) -> None:
    row = scene.row("a", at=1.2)
    scene.claim("a", 1.1, "409 limit_reached", pool="south")
    scene.claim("a", 1.0, "201 confirmed", row, answered=T0 + 3)


@fair
def a_doubtful_twin_took_the_only_place(scene: Scene) -> None:
    scene.row("a", at=1.2)
    scene.claim("a", 1.0, "503 unknown")
    scene.claim("a", 1.1, "409 limit_reached", pool="south")


@fair
def who_may_hold_two_is_refused_a_second_one(scene: Scene) -> None:
    scene.campaign["per_person"] = 2
    scene.confirm("a", 1, "south")
    scene.claim("a", 2, "409 sold_out", pool="south")
    scene.confirm("a", 3)
    scene.claim("a", 4, "409 limit_reached")


@fair
def a_claim_of_another_campaign_lies_between(scene: Scene) -> None:
    scene.pools.append({"id": 9, "campaign_id": 2, "code": "north", "capacity": 1, "remaining": 0})
    scene.rows.append(scene.row("z") | {"campaign_id": 2, "pool_id": 9})
    scene.rows.pop(0)
    scene.pool("north")["remaining"] += 1
    scene.confirm("a", 1)["seq"] = 2


@fair
def a_hold_expired(scene: Scene) -> None:
    row = scene.row("a", at=1.1, status="held")
    scene.claim("a", 1, "201 confirmed", row)
    scene.end(row, 60)
    row["status"] = "expired"
    scene.mine("a", 61, row)


@fair
def the_log_keeps_no_states(scene: Scene) -> None:
    row = scene.confirm("a", 1, key="k")
    scene.mine("a", 2, scene.told(row, status=None))


@fair
def bodies_and_sessions_were_refused(scene: Scene) -> None:
    for number, answer in enumerate(("401 no_session", "429 rate_limited", "413", "422 invalid", "403 refused")):
        scene.claim("a", 1 + number, answer)


@fair
def somebody_only_looked(scene: Scene) -> None:
    scene.mine("a", 1)
    scene.line("a", "cancel", 2, "404 not_found", claim="nothing")
