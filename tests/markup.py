"""A strict reader of HTML: what a page consists of, and what of it can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


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
