"""A data directory has one participant plane: a gate may refuse by itself only where no other one grants."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.product import Server, create_campaign, eventually, served


def test_a_second_participant_plane_is_refused_whoever_started_the_first(data: Path) -> None:
    create_campaign(data, "masks")
    alone = Server(data, extra=("--plane", "participant"))
    with served(data) as whole:
        said = alone.must_not_start()
        assert "is being served already" in said
        assert "Traceback" not in said
        assert whole.ready()


def test_serve_is_refused_beside_a_participant_plane_that_was_started_alone(data: Path) -> None:
    create_campaign(data, "masks")
    with served(data, extra=("--plane", "participant")) as alone:
        said = Server(data).must_not_start()
        assert "is being served already" in said
        assert "Traceback" not in said
        assert alone.ready()


def test_a_plane_that_was_killed_leaves_its_place_to_the_next(data: Path) -> None:
    create_campaign(data, "masks")
    first = Server(data, extra=("--plane", "participant")).start()
    first.kill_everything()
    with served(data) as second:
        eventually("the next one serves", second.ready)
