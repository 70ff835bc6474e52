"""A ledger and a clients' log made by hand: the documented tables without any constraint, so that they can lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from headgate.lab.judge import Verdict, judge

T0 = 1_790_000_000
"""The campaign opens at this second; scenes count from it."""
SLUG = "masks"

_INTEGER, _TEXT, _BYTES = sa.BigInteger, sa.String(200), sa.LargeBinary(16)
METADATA = sa.MetaData()
_COLUMNS: dict[str, dict[str, Any]] = {
    "campaign": {
        "id": _INTEGER, "slug": _TEXT, "kind": _TEXT, "opens_at": _INTEGER, "closes_at": _INTEGER,
        "per_person": _INTEGER, "control": _TEXT, "created_at": _INTEGER,
    },
    "pool": {"id": _INTEGER, "campaign_id": _INTEGER, "code": _TEXT, "capacity": _INTEGER, "remaining": _INTEGER},
    "claim": {
        "seq": _INTEGER, "id": _TEXT, "campaign_id": _INTEGER, "pool_id": _INTEGER, "person": _BYTES,
        "ordinal": _INTEGER, "status": _TEXT, "code": _TEXT, "created_at": _INTEGER, "ended_at": _INTEGER,
        "key_digest": _BYTES,
    },
    "operation": {"id": _INTEGER, "at": _INTEGER},
}  # fmt: skip
for _table, _types in _COLUMNS.items():
    sa.Table(_table, METADATA, *(sa.Column(name, kind) for name, kind in _types.items()))

Row = dict[str, Any]


def ms(seconds: float) -> int:
    """A time of a scene as the ledger keeps it."""
    return round((T0 + seconds) * 1000)


class Scene:
    """Campaign 1 with its pools; `rows`, `pools` and `lines` may be changed at will until `verdict` is asked."""

    def __init__(self, pools: Mapping[str, int], *, per_person: int = 1, closes: float = 3600) -> None:
        self.campaign: Row = {
            "id": 1, "slug": SLUG, "kind": "first_come", "opens_at": ms(0), "closes_at": ms(closes),
            "per_person": per_person, "control": "active", "created_at": ms(-3600),
        }  # fmt: skip
        self.pools: list[Row] = [
            {"id": number, "campaign_id": 1, "code": code, "capacity": units, "remaining": units}
            for number, (code, units) in enumerate(pools.items(), 1)
        ]
        self.rows: list[Row] = []
        self.operations: list[Row] = [{"id": 1, "at": ms(-3600)}]
        self.lines: list[dict[str, Any]] = []

    def pool(self, code: str) -> Row:
        return next(pool for pool in self.pools if pool["code"] == code)

    def row(self, person: str, pool: str = "north", *, at: float = 1.0, **change: Any) -> Row:
        """A claim that takes a unit."""
        seq = len(self.rows) + 1
        places = [row["ordinal"] for row in self.rows if row["person"] == person.encode() and row["ordinal"] > 0]
        row: Row = {
            "seq": seq, "id": f"id{seq}", "campaign_id": 1, "pool_id": self.pool(pool)["id"],
            "person": person.encode(), "ordinal": min(set(range(1, 102)) - set(places)), "status": "confirmed",
            "code": f"C-{seq}", "created_at": ms(at), "ended_at": None, "key_digest": None,
        } | change  # fmt: skip
        self.rows.append(row)
        self.pool(pool)["remaining"] -= 1
        return row

    def end(self, row: Row, at: float) -> None:
        """A claim that was cancelled, and gave its unit back."""
        row |= {"status": "cancelled", "ordinal": -row["seq"], "ended_at": ms(at)}
        next(pool for pool in self.pools if pool["id"] == row["pool_id"])["remaining"] += 1

    def told(self, row: Row, **change: Any) -> dict[str, Any]:
        """A claim as an answer shows it."""
        pool = next((pool["code"] for pool in self.pools if pool["id"] == row["pool_id"]), "nowhere")
        shown = {"id": row["id"], "code": row["code"], "pool": pool, "ordinal": row["ordinal"]}
        return shown | {"status": row["status"]} | change

    def line(self, person: str, request: str, sent: float, answer: str, *told: Row, **change: Any) -> dict[str, Any]:
        """A request; `answer` is "201 confirmed", "503 unknown" …, "200" where there is no outcome, or "lost"."""
        status, _, outcome = answer.partition(" ")
        line = {
            "person": person, "request": request, "pool": "north" if request == "claim" else None, "key": None,
            "claim": None, "sent": T0 + sent, "answered": T0 + sent + 0.5,
            "status": None if status == "lost" else int(status), "outcome": outcome or None,
            "claims": [row if "pool" in row else self.told(row) for row in told],
        } | change  # fmt: skip
        self.lines.append(line)
        return line

    def claim(self, person: str, sent: float, answer: str, *told: Row, **change: Any) -> dict[str, Any]:
        return self.line(person, "claim", sent, answer, *told, **change)

    def mine(self, person: str, sent: float, *told: Row, **change: Any) -> dict[str, Any]:
        return self.line(person, "mine", sent, "200", *told, **change)

    def cancel(self, person: str, sent: float, row: Row, answer: str = "200 cancelled") -> dict[str, Any]:
        return self.line(person, "cancel", sent, answer, claim=row["id"])

    def confirm(self, person: str, sent: float, pool: str = "north", **change: Any) -> Row:
        """A claim that was made and told, as it should be."""
        row = self.row(person, pool, at=sent + 0.2)
        self.claim(person, sent, "201 confirmed", row, pool=pool, **change)
        return row

    def write(self, directory: Path, *, logs: int = 1, url: str | None = None) -> tuple[list[Path], str]:
        """(log files, ledger URL)."""
        url = url or f"sqlite:///{directory / 'ledger.db'}"
        engine = sa.create_engine(url)
        tables = {"campaign": [self.campaign], "pool": self.pools, "claim": self.rows, "operation": self.operations}
        with engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # Tests make thousands of ledgers, and none of them has to survive a power cut.
                connection.exec_driver_sql("PRAGMA synchronous = OFF")
            METADATA.drop_all(connection)
            METADATA.create_all(connection)
            for name, rows in tables.items():
                if rows:
                    connection.execute(METADATA.tables[name].insert(), rows)
        engine.dispose()
        paths = [directory / f"client{number}.jsonl" for number in range(logs)]
        for number, path in enumerate(paths):
            path.write_text("".join(f"{json.dumps(line)}\n" for line in self.lines[number::logs]))
        return paths, url

    def verdict(self, directory: Path, *, logs: int = 1, url: str | None = None) -> Verdict:
        paths, url = self.write(directory, logs=logs, url=url)
        return judge(paths, url, SLUG)
