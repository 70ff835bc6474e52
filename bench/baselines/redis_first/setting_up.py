"""A new campaign out of a JSON file: its rows in the ledger, then its stock in the store.

The file has the fields of docs/reference/campaign-file.md.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from .gate import Campaign, Gate, key
from .ledger import METADATA, SEQ, campaign_table, counter_table, pool_table, read_campaigns
from .shop import Shop

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Unusable(ValueError):
    """The file cannot be used; the message says why."""


class PoolFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
    units: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
    label: dict[str, str] = {}


class CampaignFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this design sells: one claim a person, first come, first served, to anybody."""

    slug: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    title: dict[str, str]
    opens_at: Moment
    closes_at: Moment
    pools: Annotated[list[PoolFile], msgspec.Meta(min_length=1)]
    kind: Literal["first_come"] = "first_come"
    per_person: Literal[1] = 1
    rehearsal: bool = False
    verification: Literal["none"] = "none"


def read_file(path: Path) -> CampaignFile:
    try:
        wanted = msgspec.json.decode(path.read_bytes(), type=CampaignFile)
    except OSError as error:
        raise Unusable(f"{path} cannot be read ({error.strerror}); check its path") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unusable(f"{path} is no campaign that can be sold here: {error}; correct that field") from error
    if wanted.opens_at >= wanted.closes_at:
        raise Unusable(
            f"{path}: closes_at {wanted.closes_at} is not after opens_at {wanted.opens_at}; move one of them"
        )
    codes = [pool.id for pool in wanted.pools]
    if len(set(codes)) < len(codes):
        raise Unusable(f"{path}: {len(codes) - len(set(codes))} pool ids are given twice; give each pool its own")
    return wanted


async def set_up(gate: Gate, engine: sa.Engine, wanted: CampaignFile) -> None:
    """All of the rows or none; the stock is loaded from them, and by the listener if this ends in between."""
    if await gate.has_keys(wanted.slug):
        raise Unusable(
            f"the gate has a campaign {wanted.slug!r} already, of this ledger or another; choose another slug, "
            f"or erase the keys {key(wanted.slug, '*')} if nobody sells it any more"
        )
    await Shop(gate, engine).load(await asyncio.to_thread(_create, engine, wanted))


def _create(engine: sa.Engine, wanted: CampaignFile) -> Campaign:
    METADATA.create_all(engine)
    offset = wanted.opens_at.utcoffset()
    assert offset is not None, "a moment has a time zone"
    with engine.begin() as connection:
        connection.execute(insert(counter_table).values(name=SEQ, value=0).on_conflict_do_nothing())
        campaign_id = connection.execute(
            insert(campaign_table)
            .values(
                slug=wanted.slug,
                kind=wanted.kind,
                title=wanted.title,
                opens_at=round(wanted.opens_at.timestamp() * 1000),
                closes_at=round(wanted.closes_at.timestamp() * 1000),
                utc_offset_s=int(offset.total_seconds()),
                per_person=wanted.per_person,
                rehearsal=wanted.rehearsal,
                verification=wanted.verification,
                control="active",
                version=1,
                created_at=int(time.time() * 1000),
            )
            .on_conflict_do_nothing()
            .returning(campaign_table.c.id)
        ).scalar_one_or_none()
        if campaign_id is None:
            raise Unusable(f"a campaign with the slug {wanted.slug!r} exists already; choose another slug")
        connection.execute(
            sa.insert(pool_table),
            [
                {
                    "campaign_id": campaign_id,
                    "code": pool.id,
                    "label": pool.label or {"en": pool.id},
                    "capacity": pool.units,
                    "remaining": pool.units,
                    "version": 1,
                }
                for pool in wanted.pools
            ],
        )
    return read_campaigns(engine)[wanted.slug]
