"""The ledger in PostgreSQL: the tables that an auditor may read, and the transaction of a consumer.

The tables, their checks and their unique keys are those of docs/reference/ledger-tables.md.  A claim's id
is made before it comes here, so a unique index of its own keeps one that is delivered twice from being
written twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from .gate import Campaign, Claim, Win

SEQ = "claim.seq"
"""The row of `counter` that numbers claims; whoever writes claims locks it first."""

CONNECT_S = 3
CONNECTIONS_MAX = 4
CLAIMS_PER_PAGE = 5_000

_OPTIONS = {
    "statement_timeout": 10_000,
    "lock_timeout": 3_000,
    "idle_in_transaction_session_timeout": 10_000,
    "synchronous_commit": "on",
}
# A server behind a broken network is given up within some seconds, whether it owes us an answer or a receipt.
_NETWORK = {
    "keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 5_000,
}  # fmt: skip

METADATA = sa.MetaData()
campaign_table = sa.Table(
    "campaign",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("title", sa.JSON, nullable=False),
    sa.Column("opens_at", sa.BigInteger, nullable=False),
    sa.Column("closes_at", sa.BigInteger, nullable=False),
    sa.Column("utc_offset_s", sa.Integer, nullable=False),
    sa.Column("per_person", sa.Integer, nullable=False),
    sa.Column("rehearsal", sa.Boolean, nullable=False),
    sa.Column("verification", sa.Text, nullable=False),
    sa.Column("control", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("limits", sa.JSON(none_as_null=True)),
    sa.Column("mode", sa.Text, nullable=False, server_default="immediate"),
    sa.CheckConstraint("opens_at < closes_at", name="campaign_window"),
    sa.CheckConstraint("per_person >= 1", name="campaign_per_person"),
)
pool_table = sa.Table(
    "pool",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("campaign_id", sa.Integer, sa.ForeignKey("campaign.id"), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("label", sa.JSON, nullable=False),
    sa.Column("capacity", sa.Integer, nullable=False),
    sa.Column("remaining", sa.Integer, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.UniqueConstraint("campaign_id", "code", name="pool_code"),
    sa.CheckConstraint("remaining >= 0 AND remaining <= capacity", name="pool_remaining"),
)
claim_table = sa.Table(
    "claim",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("campaign_id", sa.Integer, nullable=False),
    sa.Column("pool_id", sa.Integer, nullable=False),
    sa.Column("person", sa.LargeBinary(16), nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("key_digest", sa.LargeBinary(16)),
    sa.Column("body_digest", sa.LargeBinary(16)),
    sa.UniqueConstraint("campaign_id", "person", "ordinal", name="claim_place"),
    sa.CheckConstraint(
        "status = 'confirmed' OR status = 'held' OR status = 'redeemed' OR status = 'cancelled' OR status = 'expired'",
        name="claim_status",
    ),
    sa.CheckConstraint("(status = 'cancelled' OR status = 'expired') = (ordinal <= 0)", name="claim_live_has_place"),
    sa.Index("claim_id", "id", unique=True),
)
counter_table = sa.Table(
    "counter",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

_TAKE = (
    sa.update(pool_table)
    .where(pool_table.c.id == sa.bindparam("pool"), pool_table.c.remaining >= sa.bindparam("units"))
    .values(remaining=pool_table.c.remaining - sa.bindparam("units"), version=pool_table.c.version + 1)
)


def open_ledger(url: str) -> sa.Engine:
    """Connects when it is used; of several hosts, to the one that the URL's `target_session_attrs` asks for."""
    said = " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items())
    return sa.create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_size=CONNECTIONS_MAX,
        max_overflow=0,
        pool_timeout=CONNECT_S,
        # After the server's restart or failover the connections that are still here lead nowhere.
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_S, "options": said, **_NETWORK},
    )


def read_campaigns(engine: sa.Engine) -> dict[str, Campaign]:
    """All campaigns, by slug."""
    with engine.connect() as connection:
        pools: dict[int, dict[str, int]] = {}
        for row in connection.execute(sa.select(pool_table).order_by(pool_table.c.id)):
            pools.setdefault(row.campaign_id, {})[row.code] = row.id
        return {
            row.slug: Campaign(row.id, row.slug, row.opens_at, row.closes_at, pools.get(row.id, {}))
            for row in connection.execute(sa.select(campaign_table))
        }


def read_stock(
    engine: sa.Engine, campaign: Campaign, keep: Callable[[list[tuple[str, Claim]]], None]
) -> tuple[int, dict[str, int]]:
    """How many claims there are and the units that remain in each pool, at one moment.

    The claims go to `keep` on the way, page by page, each with its person.
    """
    codes = {pool_id: code for code, pool_id in campaign.pools.items()}
    count, last_seq = 0, 0
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        pools = sa.select(pool_table).where(pool_table.c.campaign_id == campaign.id)
        stock = {row.code: row.remaining for row in connection.execute(pools)}
        while True:
            rows = connection.execute(
                sa.select(claim_table)
                .where(claim_table.c.campaign_id == campaign.id, claim_table.c.seq > last_seq)
                .order_by(claim_table.c.seq)
                .limit(CLAIMS_PER_PAGE)
            ).all()
            if not rows:
                return count, stock
            keep([(row.person.hex(), Claim(row.id, row.code, codes[row.pool_id], row.created_at)) for row in rows])
            count, last_seq = count + len(rows), rows[-1].seq


def record(engine: sa.Engine, campaign: Campaign, wins: Sequence[Win]) -> list[Win]:
    """Write wins in one transaction, each once, however often they come; returns those that there is no place for.

    A win has no place where its pool is empty or its person holds another claim.  It happens only after
    the store has lost something, and then a person was told of a claim that nobody can give them.
    """
    with engine.begin() as connection:
        last_seq = connection.execute(
            sa.select(counter_table.c.value).where(counter_table.c.name == SEQ).with_for_update()
        ).scalar_one()
        accepted, rejected = _decide(wins, *_known(connection, campaign, wins))
        if accepted:
            _write(connection, campaign, accepted, last_seq)
    return rejected


def _known(connection: sa.Connection, campaign: Campaign, wins: Sequence[Win]) -> tuple[set[str], set[str], Stock]:
    """Ids that are written already, persons who hold something, and the stock of the pools, by code."""
    ids = sa.select(claim_table.c.id).where(claim_table.c.id.in_([win.claim.id for win in wins]))
    persons = sa.select(claim_table.c.person).where(
        claim_table.c.campaign_id == campaign.id,
        claim_table.c.person.in_([bytes.fromhex(win.person) for win in wins]),
    )
    pools = sa.select(pool_table.c.code, pool_table.c.remaining).where(
        pool_table.c.campaign_id == campaign.id, pool_table.c.code.in_({win.claim.pool for win in wins})
    )
    return (
        set(connection.scalars(ids)),
        {person.hex() for person in connection.scalars(persons)},
        {row.code: row.remaining for row in connection.execute(pools)},
    )


Stock = dict[str, int]


def _decide(wins: Iterable[Win], written: set[str], holders: set[str], stock: Stock) -> tuple[list[Win], list[Win]]:
    """(accepted, rejected) in order; what is given away here counts for those who come later in the batch."""
    accepted, rejected = [], []
    for win in wins:
        if win.claim.id in written:
            continue
        if win.person in holders or stock.get(win.claim.pool, 0) < 1:
            rejected.append(win)
            continue
        written.add(win.claim.id)
        holders.add(win.person)
        stock[win.claim.pool] -= 1
        accepted.append(win)
    return accepted, rejected


def _write(connection: sa.Connection, campaign: Campaign, accepted: Sequence[Win], last_seq: int) -> None:
    connection.execute(
        sa.insert(claim_table),
        [_row(campaign, win, seq) for seq, win in enumerate(accepted, last_seq + 1)],
    )
    connection.execute(
        sa.update(counter_table).where(counter_table.c.name == SEQ).values(value=last_seq + len(accepted))
    )
    taken = Counter(campaign.pools[win.claim.pool] for win in accepted)
    gave = connection.execute(_TAKE, [{"pool": pool_id, "units": taken[pool_id]} for pool_id in sorted(taken)])
    if gave.rowcount != len(taken):
        raise RuntimeError(
            f"{len(taken) - gave.rowcount} pools of {campaign.slug!r} have fewer units than were just read; "
            "something else writes them: stop it"
        )


def _row(campaign: Campaign, win: Win, seq: int) -> dict[str, Any]:
    return {
        "seq": seq,
        "id": win.claim.id,
        "campaign_id": campaign.id,
        "pool_id": campaign.pools[win.claim.pool],
        "person": bytes.fromhex(win.person),
        "ordinal": 1,
        "status": "confirmed",
        "code": win.claim.code,
        # The moment that the person was told, whenever it is written.
        "created_at": win.claim.at_ms,
    }
