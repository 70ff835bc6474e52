"""Where the gate is, out of `gate.url`."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import msgspec

SINGLE, CLUSTER, SENTINEL = "redis", "redis+cluster", "redis+sentinel"
SCHEMES = {
    "redis": (SINGLE, False),
    "rediss": (SINGLE, True),
    "redis+cluster": (CLUSTER, False),
    "rediss+cluster": (CLUSTER, True),
    "redis+sentinel": (SENTINEL, False),
    "rediss+sentinel": (SENTINEL, True),
}
"""Scheme -> (kind, with TLS)"""

PORTS = {SINGLE: 6379, CLUSTER: 6379, SENTINEL: 26379}


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,20}")


class BadGateUrl(ValueError):
    """The URL cannot be used; the message says why, and shows no password."""


class GateAddress(msgspec.Struct, frozen=True):
    """`hosts` are the server, some of the cluster's nodes, or the sentinels; `service` is what sentinels call it."""

    kind: str
    hosts: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    database: int
    service: str
    tls: bool

    def __str__(self) -> str:
        hosts = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.hosts)
        path = f"/{self.service}" if self.service else ""
        scheme = next(name for name, meant in SCHEMES.items() if meant == (self.kind, self.tls))
        return f"{scheme}://{hosts}{path}" + (f"/{self.database}" if self.database else "")


def parse(url: str) -> GateAddress:
    """`redis://[USER:PASSWORD@]HOST[:PORT][,HOST…][/SERVICE][/DATABASE]`; raises BadGateUrl."""
    scheme, _, _ = url.partition("://")
    if scheme not in SCHEMES:
        # What is no URL may hold a password, so it is not shown.
        named = f"names the scheme {scheme!r}" if _SCHEME.fullmatch(scheme) else "begins with no scheme"
        raise BadGateUrl(f"gate.url {named}; write memory: alone, or one of {', '.join(f'{s}://' for s in SCHEMES)}")
    kind, tls = SCHEMES[scheme]
    parts = urlsplit(url)
    if "@" in parts.path + parts.query + parts.fragment:
        # A part of a password would be shown as a host or a database.
        raise BadGateUrl(
            "gate.url has an @ behind its host; in a user name or a password write / as %2F, ? as %3F, # as %23, "
            "@ as %40, : as %3A and % as %25"
        )
    identity, _, places = parts.netloc.rpartition("@")
    username, _, password = identity.partition(":")
    hosts = tuple(_host(place, PORTS[kind]) for place in places.split(","))
    if kind == SINGLE and len(hosts) > 1:
        raise BadGateUrl("gate.url names several hosts of one server; for a cluster write redis+cluster://")
    words = [word for word in parts.path.split("/") if word]
    service = ""
    if kind == SENTINEL:
        if not words:
            raise BadGateUrl("gate.url names no service; write for example redis+sentinel://HOST:26379/mymaster")
        service = words.pop(0)
    database = _database(words, kind)
    return GateAddress(kind, hosts, unquote(username) or None, unquote(password) or None, database, service, tls)


def _host(place: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadGateUrl(f"gate.url holds the host {place!r}, whose port is no number from 1 to 65535") from error
    if not host:
        raise BadGateUrl("gate.url names no host; write for example redis://127.0.0.1:6379")
    return host, default_port if port is None else port


def _database(words: list[str], kind: str) -> int:
    if not words:
        return 0
    if len(words) > 1 or not words[0].isdigit() or (kind == CLUSTER and words[0] != "0"):
        raise BadGateUrl(f"gate.url ends with {'/'.join(words)!r}, which is no number of a database; leave it out")
    return int(words[0])
