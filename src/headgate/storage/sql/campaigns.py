"""Campaigns and their stock on SQL engines: what operators, the keeper and reports ask for."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from ...domain.campaign import Campaign, CampaignLimits, Control, Kind, Mode, Pool, Verification
from ...domain.claim import LIVE
from ...domain.definition import UNITS_MAX, CampaignDefinition
from ...ports.clock import Clock
from ...ports.ledger import ClaimRow, LedgerDamaged, PoolStock, SlugTaken, Tally, UnknownCampaign, UnknownPool
from . import operations
from .engine import LEDGER_ID, writing
from .placements import placed_on
from .schema import METADATA, campaign, claim, counter, pool

_POOLS_PER_INSERT = 1_000


class SqlCampaigns:
    """See `headgate.ports.ledger.CampaignLedger` for what the calls promise."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._writing = writing(engine)
        self._clock = clock

    def create(self, definition: CampaignDefinition, *, actor: str) -> Campaign:
        """All of it or nothing; raises SlugTaken."""
        offset = definition.opens_at.utcoffset()
        assert offset is not None, "definitions are checked before they come here"
        now_ms = self._clock.now_ms()
        with self._writing.begin() as connection:
            if connection.scalar(sa.select(campaign.c.id).where(campaign.c.slug == definition.slug)) is not None:
                raise SlugTaken(f"a campaign with the slug {definition.slug!r} exists already; choose another slug")
            placed = placed_on(connection, definition.slug)
            own_id = connection.scalar(sa.select(counter.c.value).where(counter.c.name == LEDGER_ID))
            if placed not in (None, own_id):
                raise SlugTaken(
                    f"the slug {definition.slug!r} belongs to a campaign of another ledger, which the settings here do "
                    "not name; choose another slug"
                )
            inserted = connection.execute(
                sa.insert(campaign).values(
                    slug=definition.slug,
                    kind=definition.kind,
                    title=definition.title,
                    opens_at=round(definition.opens_at.timestamp() * 1000),
                    closes_at=round(definition.closes_at.timestamp() * 1000),
                    utc_offset_s=int(offset.total_seconds()),
                    per_person=definition.per_person,
                    rehearsal=definition.rehearsal,
                    verification=definition.verification,
                    control=Control.ACTIVE,
                    version=1,
                    created_at=now_ms,
                    limits=msgspec.to_builtins(definition.limits),
                    mode=definition.mode,
                )
            )
            (campaign_id,) = inserted.inserted_primary_key or (0,)
            rows = [
                {
                    "campaign_id": campaign_id,
                    "code": item.id,
                    "label": item.label or {"en": item.id},
                    "capacity": item.units,
                    "remaining": item.units,
                    "version": 1,
                }
                for item in definition.pools
            ]
            for start in range(0, len(rows), _POOLS_PER_INSERT):
                connection.execute(sa.insert(pool), rows[start : start + _POOLS_PER_INSERT])
            units = sum(item.units for item in definition.pools)
            detail = {"slug": definition.slug, "pools": len(rows), "units": units}
            operations.record(connection, at_ms=now_ms, actor=actor, action="create", detail=detail)
            return self._load(connection, campaign.c.id == campaign_id)[0]

    def campaigns(self) -> list[Campaign]:
        with self._engine.connect() as connection:
            return self._load(connection, sa.true())

    def campaign_by_id(self, campaign_id: int) -> Campaign:
        with self._engine.connect() as connection:
            return self._load(connection, campaign.c.id == campaign_id)[0]

    def campaign(self, slug: str) -> Campaign:
        with self._engine.connect() as connection:
            return self._one(connection, slug)

    def stock(self, campaign_id: int) -> list[PoolStock]:
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(pool.c.campaign_id, pool.c.id, pool.c.remaining, pool.c.version)
                .where(pool.c.campaign_id == campaign_id)
                .order_by(pool.c.id)
            )
            return [PoolStock(*row) for row in rows]

    def control(self, slug: str, control: Control, *, expected: Control, command: str, actor: str) -> Campaign | None:
        with self._writing.begin() as connection:
            wanted = self._one(connection, slug)
            if wanted.control is not expected:
                return None
            connection.execute(
                sa.update(campaign)
                .where(campaign.c.id == wanted.id)
                .values(control=control, version=campaign.c.version + 1)
            )
            self._record(connection, actor, command, {"slug": slug})
            return self._one(connection, slug)

    def topup(self, slug: str, pool_code: str, units: int, *, actor: str) -> PoolStock:
        """Add `units` (at least 1) to a pool; raises UnknownPool, or ValueError beyond UNITS_MAX."""
        with self._writing.begin() as connection:
            wanted = self._one(connection, slug)
            target = sa.and_(pool.c.campaign_id == wanted.id, pool.c.code == pool_code)
            row = connection.execute(sa.select(pool).where(target)).one_or_none()
            if row is None:
                raise UnknownPool(
                    f"the campaign {slug!r} has no pool {pool_code!r}; `headgate campaign show {slug}` lists them"
                )
            if row.capacity + units > UNITS_MAX:
                raise ValueError(
                    f"{units} more units would give pool {pool_code!r} {row.capacity + units}; at most {UNITS_MAX}"
                )
            connection.execute(
                sa.update(pool)
                .where(target)
                .values(
                    capacity=pool.c.capacity + units,
                    remaining=pool.c.remaining + units,
                    version=pool.c.version + 1,
                )
            )
            connection.execute(
                sa.update(campaign).where(campaign.c.id == wanted.id).values(version=campaign.c.version + 1)
            )
            self._record(connection, actor, "topup", {"slug": slug, "pool": pool_code, "units": units})
            return PoolStock(wanted.id, row.id, row.remaining + units, row.version + 1)

    def tally(self, slug: str) -> Tally:
        """Counts rows; nothing of what is counted is taken from `remaining` but `available` itself."""
        with self._engine.connect() as connection:
            wanted = self._one(connection, slug)
            counted = connection.execute(
                sa.select(claim.c.status, sa.func.count())
                .where(claim.c.campaign_id == wanted.id)
                .group_by(claim.c.status)
            )
            by_status = {str(row[0]): int(row[1]) for row in counted}
            available = connection.scalar(
                sa.select(sa.func.coalesce(sa.func.sum(pool.c.remaining), 0)).where(pool.c.campaign_id == wanted.id)
            )
            return Tally(
                capacity=wanted.capacity,
                confirmed=by_status.get("confirmed", 0),
                held=by_status.get("held", 0),
                redeemed=by_status.get("redeemed", 0),
                cancelled=by_status.get("cancelled", 0),
                expired=by_status.get("expired", 0),
                available=int(available or 0),
                duplicates=self._duplicates(connection, wanted),
                oversold=self._oversold(connection, wanted),
                unbalanced_pools=len(connection.execute(self._unbalanced(pool.c.campaign_id == wanted.id)).all()),
            )

    def claim_count(self, slug: str) -> int:
        with self._engine.connect() as connection:
            wanted = self._one(connection, slug)
            counted = sa.select(sa.func.count()).select_from(claim).where(claim.c.campaign_id == wanted.id)
            return int(connection.scalar(counted) or 0)

    def claims_after(self, wanted: Campaign, seq: int, limit: int) -> list[ClaimRow]:
        codes = {item.id: item.code for item in wanted.pools}
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(claim)
                .where(claim.c.seq > seq, claim.c.campaign_id == wanted.id)
                .order_by(claim.c.seq)
                .limit(limit)
            )
            return [
                ClaimRow(
                    row.seq, row.id, codes[row.pool_id], row.person.hex(), row.ordinal, row.status, row.code,
                    row.created_at,
                )
                for row in rows
            ]  # fmt: skip

    def check(self) -> None:
        """Raises LedgerDamaged, naming the place, where stock and claims, or the rows of the audit trail, contradict
        each other.
        """
        with self._engine.connect() as connection:
            missing = sorted(METADATA.tables.keys() - set(sa.inspect(connection).get_table_names()))
            if missing:
                raise LedgerDamaged(f"the ledger has no table {missing[0]!r}; restore it from a backup")
            wrong = connection.execute(self._unbalanced(sa.true())).first()
            altered = operations.first_broken(connection)
        if altered is not None:
            raise LedgerDamaged(
                f"row {altered} of the audit trail (table operation) does not follow from the rows before it: it was "
                "changed, or one before it was removed; compare the ledger with a backup"
            )
        if wrong is not None:
            slug, code, capacity, remaining, units = wrong
            raise LedgerDamaged(
                f"pool {code!r} of campaign {slug!r} has {remaining} units left and {units} live claims, "
                f"which is not its capacity of {capacity}; restore the ledger from a backup"
            )

    def _unbalanced(self, where: sa.ColumnElement[bool]) -> sa.Select[Any]:
        """(slug, pool, capacity, units left, live claims) of pools of which these do not add up."""
        live = self._live_per_pool()
        return (
            sa.select(
                campaign.c.slug, pool.c.code, pool.c.capacity, pool.c.remaining, sa.func.coalesce(live.c.units, 0)
            )
            .join(campaign, campaign.c.id == pool.c.campaign_id)
            .outerjoin(live, live.c.pool_id == pool.c.id)
            .where(where, pool.c.remaining + sa.func.coalesce(live.c.units, 0) != pool.c.capacity)
        )

    def _live_per_pool(self) -> sa.Subquery:
        return (
            sa.select(claim.c.pool_id, sa.func.count().label("units"))
            .where(claim.c.status.in_([status.value for status in LIVE]))
            .group_by(claim.c.pool_id)
            .subquery()
        )

    def _duplicates(self, connection: sa.Connection, wanted: Campaign) -> int:
        """Live claims beyond what a person may hold."""
        held = (
            sa.select(sa.func.count().label("units"))
            .where(claim.c.campaign_id == wanted.id, claim.c.status.in_([status.value for status in LIVE]))
            .group_by(claim.c.person)
            .having(sa.func.count() > wanted.per_person)
            .subquery()
        )
        beyond = sa.func.coalesce(sa.func.sum(held.c.units - wanted.per_person), 0)
        return int(connection.scalar(sa.select(beyond)) or 0)

    def _oversold(self, connection: sa.Connection, wanted: Campaign) -> int:
        """Live claims beyond the capacity of their pool."""
        live = self._live_per_pool()
        beyond = sa.func.coalesce(sa.func.sum(live.c.units - pool.c.capacity), 0)
        statement = (
            sa.select(beyond)
            .join(pool, pool.c.id == live.c.pool_id)
            .where(pool.c.campaign_id == wanted.id, live.c.units > pool.c.capacity)
        )
        return int(connection.scalar(statement) or 0)

    def _record(self, connection: sa.Connection, actor: str, action: str, detail: dict[str, Any]) -> None:
        operations.record(connection, at_ms=self._clock.now_ms(), actor=actor, action=action, detail=detail)

    def _one(self, connection: sa.Connection, slug: str) -> Campaign:
        found = self._load(connection, campaign.c.slug == slug)
        if not found:
            raise UnknownCampaign(f"there is no campaign {slug!r}; `headgate campaign list` shows them")
        return found[0]

    def _load(self, connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Campaign]:
        rows = connection.execute(sa.select(campaign).where(where).order_by(campaign.c.id)).all()
        pools: dict[int, list[Pool]] = {row.id: [] for row in rows}
        statement = sa.select(pool).join(campaign).where(where).order_by(pool.c.id)
        for row in connection.execute(statement):
            pools[row.campaign_id].append(Pool(row.id, row.code, row.label, row.capacity))
        return [
            Campaign(
                id=row.id,
                slug=row.slug,
                kind=Kind(row.kind),
                title=row.title,
                opens_at_ms=row.opens_at,
                closes_at_ms=row.closes_at,
                utc_offset_s=row.utc_offset_s,
                per_person=row.per_person,
                rehearsal=row.rehearsal,
                verification=Verification(row.verification),
                control=Control(row.control),
                version=row.version,
                pools=tuple(pools[row.id]),
                limits=None if row.limits is None else msgspec.convert(row.limits, CampaignLimits),
                mode=Mode(row.mode),
            )
            for row in rows
        ]
