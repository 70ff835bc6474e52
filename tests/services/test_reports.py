"""An export goes on where the source that it was read from goes away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from headgate.ports.ledger import CampaignLedger, ClaimRow
from headgate.ports.replicas import ReplicaAway, T
from headgate.services import reports
from headgate.services.reports import Reports


class Rows:
    """The claims 1 to `count`; goes away at the page behind `until`."""

    def __init__(self, count: int, until: int | None = None) -> None:
        self._count = count
        self._until = until

    def campaign(self, slug: str) -> str:
        return slug

    def claims_after(self, wanted: Any, seq: int, limit: int) -> list[ClaimRow]:
        if seq == self._until:
            raise ReplicaAway("gone")
        last = min(seq + limit, self._count)
        return [ClaimRow(number, wanted, "p", "", 1, "confirmed", "", 0) for number in range(seq + 1, last + 1)]


class ReplicaFirst:
    def __init__(self, replica: Rows, primary: Rows) -> None:
        self.primary = cast("CampaignLedger", primary)
        self._replica = cast("CampaignLedger", replica)

    def read(self, call: Callable[[CampaignLedger], T]) -> T:
        try:
            return call(self._replica)
        except ReplicaAway:
            return call(self.primary)

    def in_use(self) -> Mapping[int, bool]:
        return {}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("until", [None, 0, 3, 6])
@pytest.mark.parametrize("count", [0, 2, 3, 6, 7])
def test_every_claim_is_exported_once(monkeypatch: pytest.MonkeyPatch, count: int, until: int | None) -> None:
    monkeypatch.setattr(reports, "PAGE", 3)
    exported = Reports(ReplicaFirst(Rows(count, until), Rows(count))).claims("masks")
    assert [row.seq for row in exported] == list(range(1, count + 1))
