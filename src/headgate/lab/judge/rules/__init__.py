"""The rules, each a function that gives a proof for everything that breaks it, and the invariant that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..case import Case, Story
from ..verdict import Proof
from . import answers, crowd, places, refusals, rows, stock

CONTRACT = "contract"
"""In place of an invariant: an answer or a row that the documentation does not know."""

ROW_RULES: tuple[tuple[str, Callable[[Case], Iterator[Proof]]], ...] = (
    ("I1", rows.no_pool_gives_more_than_it_has),
    ("I5", rows.stock_and_claims_add_up),
    ("I5", rows.what_remains_is_within_capacity),
    ("I5", rows.every_claim_is_of_a_pool),
    ("I2", rows.nobody_holds_too_many),
    ("I2", rows.nobody_has_a_place_twice),
    ("I2", rows.live_claims_have_a_place),
    ("I3", rows.an_id_is_of_one_claim),
    ("I7", rows.a_key_makes_one_claim),
    ("I8", rows.claims_are_made_in_the_window),
    ("I9", rows.seq_has_neither_gaps_nor_doubles),
    (CONTRACT, rows.states_are_known),
)
"""What the ledger shows by itself."""

STORY_RULES: tuple[tuple[str, Callable[[Case, Story], Iterator[Proof]]], ...] = (
    ("I2", places.told_of_no_more_than_allowed),
    ("I3", places.cancelled_stays_cancelled),
    ("I3", places.a_holder_finds_their_claim),
    ("I3", places.nothing_comes_back_to_life),
    ("I3", places.reads_show_what_was_there),
    ("I4", refusals.a_holder_is_not_refused),
    ("I4", refusals.the_limit_is_for_those_who_hold),
    ("I4", refusals.what_was_refused_was_not_made),
    ("I7", answers.a_key_finds_one_claim),
    ("I7", answers.a_key_goes_on_finding_its_claim),
    ("I8", answers.a_claim_is_made_when_it_says),
    ("I20", answers.everybody_is_answered),
    (CONTRACT, answers.a_confirmation_has_its_claim),
    (CONTRACT, answers.a_claim_is_new_once),
)
"""What one participant's requests show, beside their rows."""

CROWD_RULES: tuple[tuple[str, Callable[[Case], Iterator[Proof]]], ...] = (
    (CONTRACT, crowd.answers_are_documented),
    (CONTRACT, crowd.what_exists_is_not_denied),
    ("I3", crowd.what_was_told_is_there),
    ("I3", crowd.a_claim_is_told_as_it_is),
    ("I3", crowd.people_are_told_apart),
    ("I3", crowd.nothing_ends_without_being_asked),
    ("I4", crowd.nothing_was_made_behind_a_refusal),
    ("I4", crowd.the_window_is_told_as_it_is),
    ("I4", crowd.paused_means_paused),
    ("I9", crowd.seq_follows_real_time),
    ("X2", stock.sold_out_means_sold_out),
    ("X2", stock.nothing_is_sold_after_sold_out),
)
"""What all of it shows together, once every story was heard."""
