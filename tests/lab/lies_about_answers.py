"""Lies about refusals, keys, answers and stock."""

from __future__ import annotations

from headgate.lab.judge.rules import CONTRACT
from tests.lab.lies import Lies
from tests.lab.scenes import Scene, ms

LIES_ABOUT_ANSWERS = Lies()
lie = LIES_ABOUT_ANSWERS.breaking

# Of refusals.


@lie("I4")
def a_holder_was_told_sold_out(scene: Scene) -> None:
    row = scene.confirm("a", 1, "south")
    scene.claim("a", 2, "409 sold_out", pool="south")
    scene.mine("a", 3, row)


@lie("I4")
def a_holder_was_told_limit_reached(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.claim("a", 2, "409 limit_reached")


@lie("I4")
def a_holder_was_told_closed(scene: Scene) -> None:
    scene.confirm("a", 3598)
    scene.claim("a", 3601, "409 closed")


@lie("I4")
def a_holder_was_told_paused(scene: Scene) -> None:
    scene.operations.append({"id": 2, "at": ms(1.6)})
    scene.confirm("a", 1)
    scene.claim("a", 2, "409 paused")


@lie("I4")
def a_holder_was_refused_before_cancelling(scene: Scene) -> None:
    row = scene.row("a", "south")
    scene.claim("a", 1, "201 confirmed", row, pool="south")
    scene.end(row, 5)
    scene.claim("a", 2, "409 sold_out", pool="south")
    scene.cancel("a", 4.8, row)


@lie("I4")
def a_commit_in_doubt_was_told_sold_out(scene: Scene) -> None:
    """Nobody was ever told of the claim; another one with a higher seq proves when it was there."""
    scene.row("a", "south", at=1.1)
    scene.claim("a", 1, "lost", pool="south")
    scene.confirm("b", 1.5)
    scene.claim("a", 3, "409 sold_out", pool="south")


@lie("I4")
def an_old_commit_in_doubt_was_told_sold_out(scene: Scene) -> None:
    """Only the ledger's own time shows that it was there."""
    scene.row("a", "south", at=1.1)
    scene.claim("a", 1, "503 unknown", pool="south")
    scene.claim("a", 12, "409 sold_out", pool="south")


@lie("I4")
def a_commit_in_doubt_was_not_shown(scene: Scene) -> None:
    scene.row("a", at=1.1)
    scene.claim("a", 1, "lost")
    scene.confirm("b", 1.5)
    scene.mine("a", 3)
    scene.claim("a", 4, "409 paused")
    scene.operations.append({"id": 2, "at": ms(3.5)})


@lie("I4")
def a_refused_request_made_a_claim(scene: Scene) -> None:
    row = scene.row("a", at=1.1)
    scene.claim("a", 1, "503 overloaded")
    scene.claim("a", 2, "200 confirmed", row)


@lie("I4")
def a_refused_request_made_a_claim_of_which_nobody_knows(scene: Scene) -> None:
    scene.row("a", at=1.1)
    scene.claim("a", 1, "503 overloaded")
    scene.claim("a", 2, "409 limit_reached", pool="south")


@lie("I4")
def one_doubt_made_two_claims(scene: Scene) -> None:
    scene.campaign["per_person"] = 2
    rows = [scene.row("a", at=1.1), scene.row("a", at=1.2)]
    scene.claim("a", 1, "lost")
    scene.mine("a", 2, *rows)


@lie("I4")
def the_limit_was_told_to_one_with_nothing(scene: Scene) -> None:
    scene.claim("a", 1, "409 limit_reached")


@lie("I4")
def the_limit_was_told_after_a_cancellation(scene: Scene) -> None:
    row = scene.row("a")
    scene.claim("a", 1, "201 confirmed", row)
    scene.end(row, 2.2)
    scene.cancel("a", 2, row)
    scene.claim("a", 3, "409 limit_reached")


@lie("I4")
def the_limit_was_told_below_it(scene: Scene) -> None:
    scene.campaign["per_person"] = 2
    scene.confirm("a", 1)
    scene.claim("a", 2, "409 limit_reached", pool="south")


@lie("I4")
def not_open_was_told_when_it_was(scene: Scene) -> None:
    scene.claim("a", 60, "409 not_open")


@lie("I4")
def closed_was_told_when_it_was_not(scene: Scene) -> None:
    scene.claim("a", 60, "409 closed")


@lie("I4")
def closed_was_told_before_a_claim(scene: Scene) -> None:
    scene.campaign["control"] = "closed"
    scene.claim("a", 1, "409 closed")
    scene.confirm("b", 2)


@lie("I4")
def paused_was_told_and_nobody_had_paused(scene: Scene) -> None:
    scene.claim("a", 1, "409 paused")


# Of keys, answers and stock.


@lie("I7")
def a_key_found_two_claims(scene: Scene) -> None:
    scene.campaign["per_person"] = 2
    scene.confirm("a", 1, key="k")
    scene.confirm("a", 2, key="k")


@lie("I7")
def a_key_that_made_a_claim_made_another_after_it_ended(scene: Scene) -> None:
    row = scene.row("a")
    scene.claim("a", 1, "201 confirmed", row, key="k")
    scene.end(row, 2.2)
    scene.cancel("a", 2, row)
    scene.confirm("a", 3, key="k")


@lie("I7")
def a_key_found_an_older_claim_than_it_made(scene: Scene) -> None:
    row = scene.row("a")
    alive = scene.told(row)
    scene.claim("a", 1, "201 confirmed", alive)
    scene.end(row, 2.2)
    scene.cancel("a", 2, row)
    scene.confirm("a", 3, key="k")
    scene.claim("a", 4, "200 confirmed", scene.told(row) | {"status": None}, key="k")


@lie("I7")
def a_key_that_made_a_claim_was_told_sold_out(scene: Scene) -> None:
    row = scene.row("a", "south")
    scene.claim("a", 1, "201 confirmed", row, key="k", pool="south")
    scene.end(row, 2.2)
    scene.cancel("a", 2, row)
    scene.claim("a", 3, "409 sold_out", key="k", pool="south")


@lie("I20")
def somebody_was_never_answered(scene: Scene) -> None:
    scene.claim("a", 1, "lost")


@lie("I20")
def a_holders_last_request_was_never_answered(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.claim("a", 2, "503 unknown")


@lie(CONTRACT)
def a_server_error(scene: Scene) -> None:
    scene.claim("a", 1, "500")
    scene.confirm("a", 2)


@lie(CONTRACT)
def an_outcome_with_another_status(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.claim("b", 2, "400 overloaded")


@lie(CONTRACT)
def an_unknown_outcome(scene: Scene) -> None:
    scene.claim("a", 1, "409 gone")


@lie(CONTRACT)
def a_confirmation_without_a_claim(scene: Scene) -> None:
    scene.claim("a", 1, "201 confirmed")


@lie(CONTRACT)
def a_new_claim_of_another_pool(scene: Scene) -> None:
    row = scene.row("a", "south", at=1.1)
    scene.claim("a", 1, "201 confirmed", row, pool="north")


@lie(CONTRACT)
def a_claim_was_new_twice(scene: Scene) -> None:
    row = scene.confirm("a", 1)
    scene.claim("a", 2, "201 confirmed", row)


@lie(CONTRACT)
def a_pool_that_exists_was_denied(scene: Scene) -> None:
    scene.claim("a", 1, "409 wrong_pool")


@lie(CONTRACT)
def the_campaign_was_denied(scene: Scene) -> None:
    scene.claim("a", 1, "404 unknown_campaign")


@lie("X2")
def sold_out_was_told_and_stock_is_left(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.claim("b", 2, "409 sold_out")


@lie("X2")
def a_returned_unit_was_never_given_again(scene: Scene) -> None:
    row = scene.row("a", "south")
    scene.claim("a", 1, "201 confirmed", row, pool="south")
    scene.end(row, 2.2)
    scene.cancel("a", 2, row)
    scene.claim("b", 30, "409 sold_out", pool="south")


@lie("X2")
def sold_out_was_told_for_long_in_between(scene: Scene) -> None:
    """In the end everything is given, but for a minute nobody could have it."""
    row = scene.row("a", "south")
    scene.claim("a", 1, "201 confirmed", row, pool="south")
    scene.end(row, 2.2)
    scene.cancel("a", 2, row)
    scene.claim("b", 30, "409 sold_out", pool="south")
    scene.confirm("b", 60, "south")


@lie("X2")
def sold_out_was_told_just_before_a_claim(scene: Scene) -> None:
    """The pool is empty within seconds, so only the order of what clients saw shows it."""
    scene.claim("b", 1, "409 sold_out", pool="south")
    scene.confirm("a", 2, "south")
