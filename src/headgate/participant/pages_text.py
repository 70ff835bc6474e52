"""The languages of the participant pages: which one a visitor gets, and the texts in it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from functools import cache, lru_cache
from pathlib import Path

import msgspec
from babel import negotiate_locale
from babel.dates import format_date, format_time

LANGUAGES: dict[str, str] = {"en": "English", "zh": "中文"}
"""Language code to its own name."""
DEFAULT = "en"
_FORMATS = {"en": "en_GB", "zh": "zh"}
"""Whose way of writing dates; American order of day and month would puzzle most other readers."""

ACCEPT_CHARS_MAX = 200
"""A longer Accept-Language says nothing more about what somebody reads, and must not fill the cache."""

_LOCALES = Path(__file__).parent / "locales"


class Written(msgspec.Struct, frozen=True, gc=False):
    """A text that an operator wrote; `language` is None where it is the language of the page."""

    text: str
    language: str | None


def _quality(item: str) -> tuple[float, str]:
    name, _, parameters = item.partition(";")
    weight = parameters.strip().removeprefix("q=")
    try:
        return (float(weight) if weight else 1.0), name.strip()
    except ValueError:
        return 0.0, name.strip()


@lru_cache(maxsize=512)
def _negotiated(accept_language: str) -> str:
    ranked = sorted(map(_quality, accept_language.split(",")), key=lambda pair: -pair[0])
    wanted = [name.replace("_", "-") for weight, name in ranked if weight > 0 and name]
    return (negotiate_locale(wanted, LANGUAGES, sep="-") or DEFAULT).lower()


def choose_language(accept_language: str | None, override: str | None) -> str:
    """`en` or `zh`: the override where it is one of them, else the best of an Accept-Language header, else `en`."""
    if override in LANGUAGES:
        return override
    return _negotiated((accept_language or "")[:ACCEPT_CHARS_MAX])


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


@cache
def texts(language: str) -> Mapping[str, str]:
    """Every text of one language, by its dotted name."""
    return dict(_flat(tomllib.loads((_LOCALES / f"{language}.toml").read_text(encoding="utf-8"))))


def refusal_name(language: str, outcome: str, reason: str | None) -> str:
    """The name of the text for a refusal: its reason's own where there is one, else its outcome's."""
    known = texts(language)
    for name in (f"refusal.{outcome}.{reason}", f"refusal.{outcome}"):
        if name in known:
            return name
    return "refusal.unexpected"


def written(text: Mapping[str, str], language: str, otherwise: str) -> Written:
    """What an operator wrote, in this language, else in English, else in any; `otherwise` where there is nothing."""
    for candidate in (language, DEFAULT, *text):
        if candidate in text:
            return Written(text[candidate], None if candidate == language else candidate)
    return Written(otherwise, None)


def _clock(moment: datetime, language: str) -> str:
    return format_time(
        moment, "HH:mm:ss" if moment.second else "HH:mm", tzinfo=moment.tzinfo, locale=_FORMATS[language]
    )


def _zone(moment: datetime) -> str:
    """`UTC+8`, `UTC-3:30`, `UTC`: how people write an offset."""
    minutes = round((moment.utcoffset() or timedelta()).total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    if not minutes:
        return "UTC"
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")


def _date(moment: datetime, language: str) -> str:
    return format_date(moment, "full", locale=_FORMATS[language])


def moment(at: datetime, language: str) -> str:
    """A moment in the local time that it carries, for people."""
    time = f"{_clock(at, language)} ({_zone(at)})"
    return texts(language)["page.moment"].format(date=_date(at, language), time=time)


def window(opens: datetime, closes: datetime, language: str) -> tuple[str, str]:
    """Both ends of a campaign's window in its local time, in two parts between which a line may break.

    The parts are date and times of one day, or else opening and closing.
    """
    closes = closes.astimezone(opens.tzinfo)
    if opens.date() != closes.date():
        return f"{moment(opens, language)} –", moment(closes, language)
    times = f"{_clock(opens, language)} – {_clock(closes, language)} ({_zone(opens)})"
    return _date(opens, language), times


def local_moment(at_ms: int, like: datetime) -> datetime:
    """`at_ms` (ms since the Unix epoch) in the local time of another moment."""
    return datetime.fromtimestamp(at_ms // 1000, timezone(like.utcoffset() or timedelta()))
