"""Lies of the ledger alone, and about the claims that people were told of."""

from __future__ import annotations

from headgate.lab.judge.rules import CONTRACT
from tests.lab.lies import Lies
from tests.lab.scenes import Scene, ms

LIES_ABOUT_CLAIMS = Lies()
lie = LIES_ABOUT_CLAIMS.breaking

# Of the ledger alone.


@lie("I1", "I5")
def a_pool_is_oversold(scene: Scene) -> None:
    for person in "abcdef":
        scene.confirm(person, 1)


@lie("I5")
def a_unit_vanished(scene: Scene) -> None:
    scene.pool("north")["remaining"] -= 1


@lie("I5")
def a_unit_appeared(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.pool("north")["remaining"] += 1


@lie("I5")
def more_remains_than_there_is(scene: Scene) -> None:
    scene.pool("south")["remaining"] += 1


@lie("I5", "I4")
def a_claim_is_of_another_campaigns_pool(scene: Scene) -> None:
    scene.pools.append({"id": 9, "campaign_id": 2, "code": "far", "capacity": 1, "remaining": 0})
    # It is also one that nobody can have asked for.
    scene.row("a", pool_id=9)
    scene.pool("north")["remaining"] += 1


@lie("I5")
def another_campaign_takes_from_the_pool(scene: Scene) -> None:
    scene.row("a", campaign_id=2)
    scene.pool("north")["remaining"] += 1


@lie("I2")
def a_person_holds_two(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.confirm("a", 2)


@lie("I2")
def a_place_is_taken_twice(scene: Scene) -> None:
    scene.campaign["per_person"] = 2
    scene.confirm("a", 1)
    row = scene.row("a", at=2.1, ordinal=1)
    scene.claim("a", 2, "201 confirmed", row)


@lie("I2")
def a_live_claim_has_no_place(scene: Scene) -> None:
    scene.claim("a", 1, "201 confirmed", scene.row("a", ordinal=2))


@lie("I2")
def an_ended_claim_keeps_its_place(scene: Scene) -> None:
    row = scene.row("a")
    scene.claim("a", 1, "201 confirmed", row)
    scene.end(row, 3)
    scene.cancel("a", 2.9, row)
    row["ordinal"] = 1


@lie("I3")
def two_claims_have_one_id(scene: Scene) -> None:
    row = scene.confirm("a", 1)
    scene.row("b", at=2, id=row["id"], code=row["code"])
    scene.claim("b", 2, "lost")
    scene.confirm("c", 2.2, "south")
    scene.claim("b", 3, "409 sold_out", pool="south")


@lie("I7")
def one_key_made_two_claims(scene: Scene) -> None:
    scene.campaign["per_person"] = 2
    for sent in (1, 2):
        scene.confirm("a", sent)["key_digest"] = b"digest"


@lie("I8")
def a_claim_was_made_before_opening(scene: Scene) -> None:
    scene.confirm("a", -1)


@lie("I8")
def a_claim_was_made_at_closing(scene: Scene) -> None:
    scene.confirm("a", 3599.8)


@lie("I8")
def a_clock_was_wrong(scene: Scene) -> None:
    scene.confirm("a", 1)["created_at"] = ms(60)


@lie("I9")
def seq_has_a_gap(scene: Scene) -> None:
    scene.confirm("a", 1)["seq"] = 2


@lie("I9")
def seq_is_there_twice(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.confirm("b", 1)["seq"] = 1


@lie("I9")
def seq_is_against_real_time(scene: Scene) -> None:
    first, second = scene.confirm("a", 1), scene.confirm("b", 2)
    first["seq"], second["seq"] = 2, 1


@lie(CONTRACT)
def a_state_is_unknown(scene: Scene) -> None:
    scene.confirm("a", 1)["status"] = "lost"
    scene.pool("north")["remaining"] += 1


# Of what was told.


@lie("I3")
def a_told_claim_is_gone(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.confirm("b", 2)
    scene.rows.pop()
    scene.pool("north")["remaining"] += 1


@lie("I3")
def another_code_was_told(scene: Scene) -> None:
    scene.confirm("a", 1)["code"] = "C-9"


@lie("I3")
def another_code_was_told_later(scene: Scene) -> None:
    row = scene.confirm("a", 1)
    scene.mine("a", 2, scene.told(row, code="C-9"))


@lie("I3")
def another_pool_was_told(scene: Scene) -> None:
    row = scene.confirm("a", 1)
    scene.mine("a", 2, scene.told(row, pool="south"))


@lie("I3")
def another_place_was_told(scene: Scene) -> None:
    row = scene.confirm("a", 1)
    scene.mine("a", 2, scene.told(row, ordinal=2))


@lie("I3")
def a_claim_was_told_to_two(scene: Scene) -> None:
    row = scene.confirm("a", 1)
    scene.mine("b", 2, row)


@lie("I3")
def one_was_told_of_two_peoples_claims(scene: Scene) -> None:
    scene.campaign["per_person"] = 2
    scene.confirm("a", 1)
    scene.claim("a", 2, "201 confirmed", scene.row("b", at=2.2))


@lie("I3")
def a_claim_was_cancelled_without_being_asked(scene: Scene) -> None:
    row = scene.row("a")
    scene.claim("a", 1, "201 confirmed", row)
    scene.end(row, 5)


@lie("I3")
def a_refused_cancellation_was_carried_out(scene: Scene) -> None:
    row = scene.row("a")
    scene.claim("a", 1, "201 confirmed", row)
    scene.end(row, 5)
    scene.cancel("a", 4.8, row, "503 overloaded")


@lie("I3")
def somebody_else_cancelled_the_claim(scene: Scene) -> None:
    row = scene.row("a")
    scene.claim("a", 1, "201 confirmed", row)
    scene.end(row, 5)
    scene.confirm("b", 1)
    scene.cancel("b", 4.8, row)


@lie("I3")
def a_claim_ended_before_it_was_asked_for(scene: Scene) -> None:
    row = scene.row("a")
    scene.claim("a", 1, "201 confirmed", row)
    scene.end(row, 5)
    scene.cancel("a", 60, row)


@lie("I3")
def a_confirmed_claim_expired(scene: Scene) -> None:
    row = scene.row("a")
    scene.claim("a", 1, "201 confirmed", row)
    scene.end(row, 5)
    row["status"] = "expired"


@lie("I3")
def a_cancelled_claim_is_still_live(scene: Scene) -> None:
    scene.cancel("a", 2, scene.confirm("a", 1))


@lie("I3")
def a_claim_that_is_not_there_was_cancelled(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.line("a", "cancel", 2, "200 cancelled", claim="id9")


@lie("I3")
def a_claim_was_denied_to_its_holder(scene: Scene) -> None:
    scene.cancel("a", 2, scene.confirm("a", 1), "404 not_found")


@lie("I3")
def a_live_claim_was_told_to_have_ended(scene: Scene) -> None:
    row = scene.confirm("a", 1)
    scene.mine("a", 2, scene.told(row, status="cancelled", ordinal=-1))


@lie("I3")
def a_cancelled_claim_was_told_as_live(scene: Scene) -> None:
    row = scene.row("a")
    alive = scene.told(row)
    scene.claim("a", 1, "201 confirmed", alive)
    scene.end(row, 2.2)
    scene.cancel("a", 2, row)
    scene.mine("a", 3, alive)


@lie("I3")
def mine_did_not_show_a_claim(scene: Scene) -> None:
    scene.confirm("a", 1)
    scene.mine("a", 2)


@lie("I3")
def mine_did_not_show_what_another_answer_proves(scene: Scene) -> None:
    """The claim was told to its own person only later, but by then somebody had a claim with a higher seq."""
    row = scene.row("a", at=1.1)
    scene.claim("a", 1, "lost")
    scene.confirm("b", 1.2)
    scene.mine("a", 2)
    scene.claim("a", 3, "200 confirmed", row)
