"""Whether settings can be used; every message names the setting, its value and the remedy."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from .model import LEDGER_SERVERS, MAIN, MEMORY_GATE, Ledger, Settings, SettingsError, parse_address

WORKERS_MAX = 64

_FAMILY = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""What kind of server a scheme leads to."""

REPLICAS_MAX = 16
"""Each process asks every replica once a second how far it has come."""

SHARDS_MAX = 15
"""Beside the first ledger: each worker has a process and two connections for every one of them."""

NODE_NAME = re.compile(r"[A-Za-z0-9._:-]{1,40}")
WEBHOOKS_MAX = 16
"""Each has a thread, and a connection to the ledger."""

NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}")
"""Of a webhook, by which the ledger remembers how far it has been told, or of a shard; a variable can hold one
without `-`."""


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,20}")
_URL_CHARACTERS = re.compile(r"[!-~]*")
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?|[0-9a-f]*:[0-9a-f:.]*")
"""A name as the DNS has it, or an address."""


class _Kind(NamedTuple):
    """Of a URL where events go: its scheme on this machine, that to others, and what stands for a password in it."""

    plain: str
    safe: str
    example: str
    instead: str


_WEBHOOK = _Kind("http", "https", "https://shop.example/headgate", "let the receiver check signatures")
_NATS = _Kind("nats", "tls", "tls://nats.example:4222", "put them into a file")


def check(settings: Settings) -> None:
    parse_address("listen", settings.listen)
    parse_address("console.listen", settings.console.listen)
    if not 1 <= settings.workers <= WORKERS_MAX:
        raise SettingsError(f"workers is {settings.workers}; give 1 to {WORKERS_MAX}")
    if settings.limits.per_ip_per_minute < 0:
        raise SettingsError(
            f"limits.per_ip_per_minute is {settings.limits.per_ip_per_minute}; give 0 (off) or a positive number"
        )
    if settings.node_name and not NODE_NAME.fullmatch(settings.node_name):
        raise SettingsError(
            f"node_name is {settings.node_name!r}; give 1 to 40 of A-Z, a-z, 0-9, '.', '_', ':' and '-'"
        )
    if settings.limits.concurrency != "adaptive" and settings.limits.concurrency < 1:
        raise SettingsError(
            f"limits.concurrency is {settings.limits.concurrency}; give a positive number, or 'adaptive'"
        )
    _check_ledger("ledger", settings.ledger)
    _check_shards(settings)
    _check_events(settings)
    for network in settings.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise SettingsError(
                f"trusted_proxies holds {network!r}, which is no address or network ({error}); "
                "write for example 10.0.0.0/8"
            ) from error


def _check_shards(settings: Settings) -> None:
    if len(settings.shards) > SHARDS_MAX:
        raise SettingsError(f"shards holds {len(settings.shards)} ledgers; at most {SHARDS_MAX} beside the first one")
    used = {settings.ledger.url: "ledger.url"}
    for name, ledger in settings.shards.items():
        if not NAME.fullmatch(name) or name == MAIN:
            raise SettingsError(
                f"shards holds the name {name!r}; use 1 to 48 of a-z, 0-9, - and _, beginning with a letter, "
                f"and not {MAIN!r}, which is the ledger of ledger.url"
            )
        setting = f"shards.{name}"
        if not ledger.url:
            raise SettingsError(
                f"{setting}.url is not given; write for example postgresql://headgate:PASSWORD@db.example:5432/{name}"
            )
        if ledger.url in used:
            raise SettingsError(f"{setting}.url leads to the same place as {used[ledger.url]}; remove one of them")
        used[ledger.url] = f"{setting}.url"
        _check_ledger(setting, ledger)


def _check_ledger(setting: str, ledger: Ledger) -> None:
    scheme = ledger.url.split(":", 1)[0]
    if ledger.url and scheme != "sqlite" and scheme not in LEDGER_SERVERS:
        # What is no URL may hold a password, so it is not shown.
        named = f"names the scheme {scheme!r}" if _SCHEME.fullmatch(scheme) else "begins with no scheme"
        raise SettingsError(
            f"{setting}.url {named}; use one of {', '.join(f'{known}://' for known in LEDGER_SERVERS)}, "
            "or sqlite:///PATH"
        )
    if scheme == "sqlite" and not ledger.url.startswith("sqlite:///"):
        raise SettingsError(f"{setting}.url is {ledger.url!r}; a SQLite ledger is sqlite:///PATH")
    if scheme == "sqlite" and "?" in ledger.url:
        raise SettingsError(
            f"{setting}.url is {ledger.url!r}, with options after the question mark; "
            "a SQLite ledger knows none, leave them out"
        )
    _check_replicas(setting, ledger, scheme)


def _check_replicas(setting: str, ledger: Ledger, scheme: str) -> None:
    """The URLs may hold passwords, so they are named by their place in the list."""
    if ledger.replica_urls and scheme not in LEDGER_SERVERS:
        raise SettingsError(
            f"{setting}.replica_urls names {len(ledger.replica_urls)}, but the ledger is a SQLite file, which has no "
            f"replicas; leave it out, or name the primary's server in {setting}.url"
        )
    if len(ledger.replica_urls) > REPLICAS_MAX:
        raise SettingsError(f"{setting}.replica_urls names {len(ledger.replica_urls)} servers; at most {REPLICAS_MAX}")
    for number, url in enumerate(ledger.replica_urls, 1):
        found = url.split(":", 1)[0] if "://" in url else ""
        found = found if _SCHEME.fullmatch(found) else ""
        if _FAMILY.get(found) != _FAMILY[scheme]:
            raise SettingsError(
                f"number {number} of {setting}.replica_urls has the scheme {found!r}, and {setting}.url {scheme!r}; "
                f"a replica follows a server of its own kind: write {scheme}://USER:PASSWORD@HOST/DATABASE"
            )


def _check_events(settings: Settings) -> None:
    events = settings.events
    if events.stream and settings.gate.url == MEMORY_GATE:
        raise SettingsError(
            f"events.stream is true, and gate.url is {MEMORY_GATE}, which has no stream; "
            "name a Redis or Valkey in gate.url, for example redis://127.0.0.1:6379"
        )
    if len(events.webhooks) > WEBHOOKS_MAX:
        raise SettingsError(f"events.webhooks holds {len(events.webhooks)}; at most {WEBHOOKS_MAX} are told of events")
    for name, webhook in events.webhooks.items():
        if not NAME.fullmatch(name):
            raise SettingsError(
                f"events.webhooks holds the name {name!r}; use 1 to 48 of a-z, 0-9, - and _, beginning with a letter"
            )
        _check_url(f"events.webhooks.{name}.url", webhook.url, _WEBHOOK)
    if events.nats.url:
        _check_url("events.nats.url", events.nats.url, _NATS)
    elif events.nats.secret_file:
        raise SettingsError("events.nats.secret_file is given, and events.nats.url is not; give both, or neither")


def _check_url(name: str, url: str, kind: _Kind) -> None:
    """Only scheme, host and port are shown: the rest of a webhook's URL is often what keeps others out."""
    remedy = f"write for example {kind.example}"
    if not url:
        raise SettingsError(f"{name} is not given; {remedy}")
    if not _URL_CHARACTERS.fullmatch(url):
        raise SettingsError(f"{name} holds spaces or letters beyond ASCII, which no URL does; write them as %XX")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"{name} is no URL ({error}); {remedy}") from error
    if parts.scheme not in (kind.plain, kind.safe) or not host or not _HOST.fullmatch(host):
        raise SettingsError(f"{name} names the scheme {parts.scheme!r} and the host {host!r}; {remedy}")
    shown = f"{parts.scheme}://" + (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    if parts.username is not None:
        raise SettingsError(
            f"{name} leads to {shown} with a name and a password in it; leave them out, "
            f"and {kind.instead} (secret_file)"
        )
    if parts.scheme == kind.plain and not is_loopback(host):
        raise SettingsError(f"{name} leads to {shown}, which everybody on the way can read; use {kind.safe}")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
