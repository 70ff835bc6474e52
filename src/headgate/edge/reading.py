"""An nginx configuration as directives; its own, or anybody's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import crossplane


class Unreadable(Exception):
    """A configuration cannot be read; the message names file, line and what is wrong."""


class Directive(NamedTuple):
    """`inside` holds those around it, the outermost first."""

    name: str
    arguments: tuple[str, ...]
    place: str
    inside: tuple[Directive, ...] = ()

    @property
    def context(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.inside)


def read_configuration(path: Path) -> list[Directive]:
    """Every directive of a configuration and of what it includes, in their order.  Raises Unreadable."""
    try:
        # What a module of somebody else's brings is not known here, and no error.
        read = crossplane.parse(str(path), check_ctx=False, check_args=False)
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{path} cannot be read ({error}); name the configuration of an nginx") from error
    for problem in read["errors"]:
        line = f":{problem['line']}" if problem["line"] else ""
        said = str(problem["error"]).partition(" in /")[0] or "it ends in the middle of a directive"
        raise Unreadable(f"{problem['file']}{line} cannot be read: {said}; correct it (nginx -t says more)")
    return list(_flat(read["config"], 0, read["config"][0]["parsed"], (), ()))


def _flat(
    files: Sequence[Mapping[str, Any]],
    number: int,
    block: Sequence[Mapping[str, Any]],
    inside: tuple[Directive, ...],
    including: tuple[int, ...],
) -> Iterator[Directive]:
    """Directives of a block of the file of that number, with those of other files where they are included."""
    for one in block:
        directive = Directive(one["directive"], tuple(one["args"]), f"{files[number]['file']}:{one['line']}", inside)
        yield directive
        yield from _flat(files, number, one.get("block", ()), (*inside, directive), including)
        for included in one.get("includes", ()):
            if included in (number, *including):
                raise Unreadable(f"{directive.place} includes a file that includes it; remove one of the two")
            yield from _flat(files, included, files[included]["parsed"], inside, (number, *including))
