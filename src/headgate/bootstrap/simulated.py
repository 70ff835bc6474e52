"""The parts that a simulation puts together by itself, around clocks and failures of its own."""

from __future__ import annotations

from ..storage.memory.gate import MemoryGate
from ..storage.sql.campaigns import SqlCampaigns
from ..storage.sql.engine import open_engine, upgrade
from ..storage.sql.outbox import SqlOutbox
from ..storage.sql.sqlite_claims import SqliteClaims

__all__ = ["MemoryGate", "SqlCampaigns", "SqlOutbox", "SqliteClaims", "open_engine", "upgrade"]
