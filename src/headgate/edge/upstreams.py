"""Entries of server groups that lead nowhere: a request that meets one waits, and is then sent to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from ..settings import Address, SettingsError, parse_address
from .difference import FAILING, OK, WARNING, Difference
from .reading import Directive

COST = "every request that meets it waits for it before it is sent to another"


def examine_upstreams(directives: Sequence[Directive], reaches: Callable[[Address], bool]) -> Iterator[Difference]:
    """Every entry of every group; `reaches` says whether somebody listens there."""
    groups = [one for one in directives if one.name == "upstream" and one.arguments]
    for group in groups:
        name = f"upstream {group.arguments[0]}"
        inside = [one for one in directives if one.inside[-1:] == (group,)]
        entries = [one for one in inside if one.name == "server" and one.arguments]
        seen: set[str] = set()
        usable = 0
        for entry in entries:
            found = _examine_entry(name, entry, seen, reaches)
            usable += found.verdict == OK
            yield found
        if not usable:
            yield Difference(name, FAILING, "no entry that answers", "at least one", "every request fails", group.place)
    yield from _undefined(directives, {group.arguments[0] for group in groups})


def _examine_entry(name: str, entry: Directive, seen: set[str], reaches: Callable[[Address], bool]) -> Difference:
    place = entry.arguments[0]
    shown = f"{name}: {place}"
    if place.startswith("unix:"):
        return Difference(shown, OK, "a socket of this machine", place=entry.place)
    if place in seen:
        return Difference(shown, WARNING, "twice", "once", "it gets twice as many requests as others", entry.place)
    seen.add(place)
    if "down" in entry.arguments[1:]:
        return Difference(
            shown, WARNING, "switched off (down)", "remove it", "none, but nobody is asked there", entry.place
        )
    try:
        address = parse_address("server", place if place.rpartition(":")[2].isdigit() else f"{place}:80")
    except SettingsError:
        return Difference(shown, FAILING, "no HOST:PORT", "remove it", COST, entry.place)
    if not reaches(address):
        return Difference(shown, WARNING, "nobody listens there", "remove it, or start it", COST, entry.place)
    return Difference(shown, OK, "somebody listens there", place=entry.place)


def _undefined(directives: Sequence[Directive], defined: set[str]) -> Iterator[Difference]:
    for one in directives:
        if one.name != "proxy_pass" or not one.arguments:
            continue
        target = urlsplit(one.arguments[0])
        host = target.hostname or ""
        # A name without a dot and a port is that of a group, unless the DNS of this network has it.
        if "$" in target.netloc or ":" in target.netloc or "." in host or host in {*defined, "localhost", ""}:
            continue
        known = " or ".join(sorted(defined)) or "a group"
        cost = "unless it is a host of this network, every request fails"
        yield Difference(f"proxy_pass {one.arguments[0]}", WARNING, "no group of that name", known, cost, one.place)
