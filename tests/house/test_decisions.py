"""What decisions promise and nothing else would notice."""

from __future__ import annotations

from headgate.domain.naming import ENTROPY_PER_CLAIM, ClaimNames
from headgate.services.sessions import Sessions
from tests.fakes import HandClock


class HighThenLow:
    """Entropy whose later bytes sort before its earlier ones, so that only the time can give an order."""

    def __init__(self) -> None:
        self._byte = 0xFF

    def token_bytes(self, count: int) -> bytes:
        given, self._byte = bytes([self._byte]) * count, self._byte - 1
        return given


def test_person_ids_grow_with_the_time() -> None:
    clock = HandClock()
    sessions = Sessions(b"k" * 32, clock, HighThenLow())
    earlier = sessions.new_person()
    clock.ms += 1
    later = sessions.new_person()
    assert earlier < later
    assert len(earlier) == len(later) == 16


def test_claim_ids_are_told_apart_by_the_sequence_alone() -> None:
    names = ClaimNames(bytes(2 * ENTROPY_PER_CLAIM), 2, 2**24 - 1)
    assert (names.id_of(0), names.id_of(1)) == ("000000ffffff" + "0" * 18, "000001000000" + "0" * 18)
