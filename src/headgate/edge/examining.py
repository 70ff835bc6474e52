"""Compares a machine and an nginx configuration with what a launch needs: what differs, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network

from . import machine
from .difference import FAILING, OK, WARNING, Difference
from .reading import Directive

_SIZES = {"k": 1024, "m": 1024**2, "g": 1024**3}
OLD_PROTOCOLS = {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"}
STICKY = {"ip_hash", "sticky"}
BODY_BYTES = 16_384
"""What the application takes."""


def examine_machine(read: Callable[[str], str | None], open_files: int) -> Iterator[Difference]:
    """`read` gives the value of a kernel setting, None where there is none; `open_files` is the soft limit."""
    for name, wanted, reason in machine.KERNEL:
        found = read(name)
        if found is None:
            yield Difference(
                name, WARNING, "not there", str(wanted), "it cannot be seen from here (a container?)", name
            )
        elif not found.isdigit() or int(found) < wanted:
            yield Difference(name, WARNING, found, f"at least {wanted}", reason, name)
        else:
            yield Difference(name, OK, found, place=name)
    if read(machine.NEVER_SET) == "1":
        yield Difference(
            machine.NEVER_SET, FAILING, "1", "0", "connections fail of people who share an address with others",
            machine.NEVER_SET,
        )  # fmt: skip
    enough = open_files < 0 or open_files >= machine.OPEN_FILES
    cost = "" if enough else "a connection is a file, and one that goes on to a node is two; the rest are dropped"
    yield Difference(
        "open files",
        OK if enough else WARNING,
        str(open_files),
        "" if enough else f"at least {machine.OPEN_FILES}",
        cost,
    )


def examine_nginx(directives: Sequence[Directive], cores: int) -> Iterator[Difference]:
    """What can be said of a configuration without asking anybody."""
    yield from _main(directives, cores)
    yield from _listeners(directives)
    yield from _connections(directives)
    yield from _trust(directives)
    yield from _protection(directives)


def _named(directives: Sequence[Directive], name: str) -> list[Directive]:
    # nginx itself refuses those without; they are nobody's difference.
    return [one for one in directives if one.name == name and one.arguments]


def _number(directives: Sequence[Directive], name: str, wanted: int, default: int, cost: str) -> Difference:
    found = _named(directives, name)
    value = int(found[-1].arguments[0]) if found and found[-1].arguments[0].isdigit() else default
    shown = str(value) if found else f"{default} (nginx's own)"
    place = found[-1].place if found else ""
    if value >= wanted:
        return Difference(name, OK, shown, place=place)
    return Difference(name, WARNING, shown, f"at least {wanted}", cost, place)


def _main(directives: Sequence[Directive], cores: int) -> Iterator[Difference]:
    processes = _named(directives, "worker_processes")
    value = processes[-1].arguments[0] if processes else "1"
    place = processes[-1].place if processes else ""
    if value == "auto" or (value.isdigit() and int(value) >= cores):
        yield Difference("worker_processes", OK, value, place=place)
    else:
        idle = f"{cores - int(value)} of {cores} cores do nothing" if value.isdigit() else "cores may do nothing"
        yield Difference("worker_processes", WARNING, value, "auto", idle, place)
    yield _number(
        directives, "worker_connections", machine.NGINX_CONNECTIONS, 512,
        "each process holds no more connections, those to nodes included; others wait, and then fail",
    )  # fmt: skip
    yield _number(
        directives, "worker_rlimit_nofile", machine.NGINX_OPEN_FILES, 0,
        "the limit of the account holds, often 1024 open files a process",
    )  # fmt: skip


def _listeners(directives: Sequence[Directive]) -> Iterator[Difference]:
    listens = [one for one in _named(directives, "listen") if one.context[:1] == ("http",)]
    addresses: dict[str, Directive] = {}
    for one in listens:
        addresses.setdefault(one.arguments[0], one)
        if any(word.startswith("backlog=") for word in one.arguments[1:]):
            addresses[one.arguments[0]] = one
    for address, one in addresses.items():
        backlog = next((int(word[8:]) for word in one.arguments if re.fullmatch(r"backlog=\d+", word)), 511)
        name = f"listen {address}: backlog"
        if backlog >= machine.SOMAXCONN:
            yield Difference(name, OK, str(backlog), place=one.place)
        else:
            cost = "connections beyond it that come at the same moment are dropped, and tried again a second later"
            yield Difference(name, WARNING, str(backlog), str(machine.NGINX_BACKLOG), cost, one.place)
    for one in _named(directives, "ssl_protocols"):
        old = sorted(OLD_PROTOCOLS.intersection(one.arguments))
        if old:
            yield Difference(
                "ssl_protocols",
                FAILING,
                " ".join(old),
                "TLSv1.2 TLSv1.3",
                "what is sent can be read on the way",
                one.place,
            )
    encrypted = [one for one in listens if "ssl" in one.arguments]
    http2 = any(one.arguments == ("on",) for one in _named(directives, "http2"))
    for one in encrypted:
        if not http2 and "http2" not in one.arguments:
            cost = "a browser makes six connections for a page instead of one"
            yield Difference("HTTP/2", WARNING, "off", "on", cost, one.place)


def _connections(directives: Sequence[Directive]) -> Iterator[Difference]:
    for one in _named(directives, "keepalive_timeout"):
        if one.arguments[0] in ("0", "0s") and one.context[-1:] != ("upstream",):
            cost = "each request makes a connection of its own, with TLS a handshake too"
            yield Difference("keep-alive to clients", WARNING, "off", "75s", cost, one.place)
    for upstream in _named(directives, "upstream"):
        inside = [one for one in directives if one.inside[-1:] == (upstream,)]
        name = f"upstream {upstream.arguments[0]}"
        if not _named(inside, "keepalive"):
            cost = "each request to a node makes a connection of its own; ports run out at some 28,000 a minute"
            yield Difference(f"{name}: keep-alive", WARNING, "off", "keepalive 128", cost, upstream.place)
        for one in inside:
            if one.name in STICKY:
                cost = "people stay with a node that is full or gone; any node can answer anybody"
                yield Difference(f"{name}: {one.name}", WARNING, "on", "nothing of the kind", cost, one.place)
    for one in _named(directives, "proxy_next_upstream"):
        if "non_idempotent" in one.arguments:
            cost = "a claim that one node has done is sent to another"
            yield Difference("proxy_next_upstream", FAILING, "non_idempotent", "error timeout", cost, one.place)


def _trust(directives: Sequence[Directive]) -> Iterator[Difference]:
    believed = _named(directives, "set_real_ip_from")
    for one in believed:
        try:
            everybody = ip_network(one.arguments[0], strict=False).prefixlen == 0
        except ValueError:
            continue
        if everybody:
            cost = "anybody can write an address of their choice into a header, and no limit holds"
            yield Difference("set_real_ip_from", FAILING, one.arguments[0], "the proxies before it", cost, one.place)
    for one in _named(directives, "proxy_set_header"):
        if one.arguments[0].lower() == "x-forwarded-for" and "$proxy_add_x_forwarded_for" in one.arguments[1:]:
            cost = "what the visitor wrote goes on to nodes, and counts where they trust more than this machine"
            yield Difference("X-Forwarded-For", WARNING, one.arguments[1], "$remote_addr", cost, one.place)


def _protection(directives: Sequence[Directive]) -> Iterator[Difference]:
    if not any(one.name == "limit_req" for one in directives):
        cost = "one address can keep all nodes busy"
        yield Difference("limit_req", WARNING, "none", "a limit by address", cost)
    for one in _named(directives, "client_max_body_size"):
        size = _bytes(one.arguments[0])
        if size is not None and 0 < size < BODY_BYTES:
            cost = "claims that the application takes are refused"
            yield Difference("client_max_body_size", WARNING, one.arguments[0], str(BODY_BYTES), cost, one.place)
    for one in _named(directives, "server_tokens"):
        if one.arguments[0] == "on":
            yield Difference("server_tokens", WARNING, "on", "off", "attackers are told the version", one.place)


def _bytes(size: str) -> int | None:
    found = re.fullmatch(r"(\d+)([kmg]?)", size.lower())
    return int(found[1]) * _SIZES.get(found[2], 1) if found else None
