"""Views to render and a reader of what was rendered, for the tests of the participant pages."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

from headgate.domain.campaign import Phase
from headgate.domain.claim import Claim, Status
from headgate.domain.public import CampaignView, PoolView

CENTRAL = PoolView("central", {"en": "Central pharmacy", "zh": "中心药房"}, "available")
NORTH = PoolView("north", {"en": "North gate clinic", "zh": "北门诊所"}, "sold_out")
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


def sample_view(
    pools: Sequence[PoolView] = (CENTRAL, NORTH),
    *,
    phase: Phase = Phase.OPEN,
    per_person: int = 1,
    rehearsal: bool = False,
    title: dict[str, str] | None = None,
    closes_at: str = "2026-12-01T12:00:00+08:00",
) -> CampaignView:
    return CampaignView(
        slug="masks",
        kind="first_come",
        title=title or {"en": "Free masks", "zh": "免费口罩"},
        phase=phase,
        opens_at="2026-12-01T09:00:00+08:00",
        closes_at=closes_at,
        server_time="2026-12-01T08:30:00.000+08:00",
        poll_after_ms=2000,
        per_person=per_person,
        rehearsal=rehearsal,
        version=1,
        pools=tuple(pools),
    )


def sample_claim(status: Status = Status.CONFIRMED, *, pool: str = "central", number: int = 1) -> Claim:
    return Claim(f"{number:030x}", number, pool, number, status, f"00000{number}-7KX2QM", 1_796_086_923_000)


def pharmacy_pools(path: Path) -> list[PoolView]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return [PoolView(row["醫事機構代碼"], {"zh": row["醫事機構名稱"]}, "available") for row in rows]


class Element:
    """A tag with its attributes; `text` is everything inside it."""

    def __init__(self, tag: str, attributes: dict[str, str | None], inside: tuple[Element, ...]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.inside = inside
        self.text = ""

    @property
    def hidden(self) -> bool:
        """Not shown without a script: hidden itself, inside something hidden, or in a template."""
        return any("hidden" in element.attributes or element.tag == "template" for element in (*self.inside, self))


class Page(HTMLParser):
    """The elements of a page in order.  AssertionError where tags are not closed in order."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(page.decode("utf-8"))
        self.close()
        assert self._open == [], f"never closed: {[element.tag for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in <{tag}>: {attrs}"
        element = Element(tag, dict(attrs), tuple(self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements of a tag whose attributes have these values (`class_` stands for `class`)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            element
            for element in self.elements
            if element.tag == tag and all(element.attributes.get(name) == value for name, value in wanted.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        (found,) = self.all(tag, **attributes)
        return found

    def shown(self, tag: str, **attributes: str) -> list[Element]:
        return [element for element in self.all(tag, **attributes) if not element.hidden]

    def pools(self) -> Iterator[Element]:
        """The radio buttons that can be seen."""
        yield from self.shown("input", type="radio", name="pool")

    @property
    def tags(self) -> list[str]:
        return [element.tag for element in self.elements]
