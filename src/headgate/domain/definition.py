"""What an operator writes to create a campaign, and the rules that it must keep.

`problems` names every rule that a definition breaks: what is wrong, the value, what to do.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import Annotated

import msgspec

from .campaign import CampaignLimits, Kind, Mode, Verification

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
POOL_CODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,62}[A-Za-z0-9])?")

POOLS_MAX = 100_000
"""Above this a campaign wants to be several: state files and pages grow with the pools."""
UNITS_MAX = 1_000_000_000
"""Per pool; keeps every sum far inside 64 bits."""
PER_PERSON_MAX = 100
LIMIT_MAX = 1_000_000_000
LABEL_CHARS_MAX = 200
YEARS = range(1971, 9999)
"""A day inside what can be written in every time zone."""

# Beside C0: DEL, C1, and the marks that turn the direction of text, which could make it say something else.
_CONTROLS = frozenset([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])

Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}$")]
Text = dict[Language, str]


class PoolDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    id: str
    units: int
    label: Text = {}


class CampaignDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slug: str
    title: Text
    opens_at: datetime
    closes_at: datetime
    kind: Kind = Kind.FIRST_COME
    per_person: int = 1
    rehearsal: bool = False
    verification: Verification = Verification.NONE
    limits: CampaignLimits | None = None
    mode: Mode = Mode.IMMEDIATE
    pools: list[PoolDefinition] = []


def _text_problems(name: str, text: Text) -> list[str]:
    found = []
    for language, value in text.items():
        if not value.strip():
            found.append(f"{name}.{language} is empty; write a text or leave the language out")
        elif len(value) > LABEL_CHARS_MAX:
            found.append(f"{name}.{language} has {len(value)} characters; at most {LABEL_CHARS_MAX} are allowed")
        elif any(ord(character) < 32 or ord(character) in _CONTROLS for character in value):
            found.append(f"{name}.{language} holds a control character ({value!r}); remove it")
    return found


def pool_problems(pool: PoolDefinition) -> list[str]:
    """Every rule that one pool breaks, without its place in a file."""
    found = []
    if not POOL_CODE.fullmatch(pool.id):
        found.append(
            f"id {pool.id!r} is not usable; use 1 to 64 letters, digits, '.', '_', ':' or '-', "
            "beginning and ending with a letter or digit"
        )
    if not 0 <= pool.units <= UNITS_MAX:
        found.append(f"units {pool.units} is out of range; give a whole number from 0 to {UNITS_MAX}")
    return found + _text_problems("label", pool.label)


def _window_problems(opens_at: datetime, closes_at: datetime) -> list[str]:
    found = []
    for name, moment in (("opens_at", opens_at), ("closes_at", closes_at)):
        if moment.tzinfo is None:
            found.append(f"{name} {moment.isoformat()} has no time zone; write for example {moment.isoformat()}+08:00")
        if moment.year not in YEARS:
            found.append(f"{name} {moment.isoformat()} is out of range; give a year from {YEARS[0]} to {YEARS[-1]}")
    if opens_at.tzinfo and closes_at.tzinfo and opens_at >= closes_at:
        found.append(
            f"closes_at {closes_at.isoformat()} is not after opens_at {opens_at.isoformat()}; move one of them"
        )
    return found


def _limit_problems(limits: CampaignLimits | None) -> list[str]:
    return [
        f"limits.{name} {value} is out of range; give 1 to {LIMIT_MAX}, or 0 for no limit"
        for name, value in (msgspec.structs.asdict(limits) if limits else {}).items()
        if not 0 <= value <= LIMIT_MAX
    ]


def problems(definition: CampaignDefinition) -> list[str]:
    """Every rule that the definition breaks; empty where it can be created."""
    found = []
    if not SLUG.fullmatch(definition.slug):
        found.append(
            f"slug {definition.slug!r} is not usable; use 1 to 64 of a-z, 0-9 and '-', "
            "beginning and ending with a letter or digit"
        )
    if not definition.title:
        found.append('title is empty; give at least one language, for example title = { en = "Free masks" }')
    found += _text_problems("title", definition.title)
    found += _window_problems(definition.opens_at, definition.closes_at)
    if not 1 <= definition.per_person <= PER_PERSON_MAX:
        found.append(f"per_person {definition.per_person} is out of range; give 1 to {PER_PERSON_MAX}")
    found += _limit_problems(definition.limits)
    if not definition.pools:
        found.append("the campaign has no pool; add a [[pools]] table or --pools FILE")
    if len(definition.pools) > POOLS_MAX:
        found.append(f"the campaign has {len(definition.pools)} pools; at most {POOLS_MAX} are allowed")
    for number, pool in enumerate(definition.pools, 1):
        found += [f"pool {number}: {problem}" for problem in pool_problems(pool)]
    for code, count in Counter(pool.id for pool in definition.pools).items():
        if count > 1:
            found.append(f"pool id {code!r} is given {count} times; give each pool its own")
    return found
