"""Whether an edge can be rendered from the settings; every message names the setting, its value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..settings import Settings, SettingsError, parse_address

WORKERS_MAX = 512
CONNECTIONS_MAX = 1_000_000

# What nginx reads as nothing but itself: no space, quote, semicolon, brace or variable.
_PATH = re.compile(r"/[A-Za-z0-9._/@+:-]*")
_NAME = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def check_edge(settings: Settings) -> None:
    """Raises SettingsError with every problem that there is, one a line."""
    problems = [*_addresses(settings), *_files(settings), *_rest(settings)]
    if problems:
        raise SettingsError("\n".join(problems))


def _addresses(settings: Settings) -> Iterator[str]:
    edge = settings.edge
    listening = {"edge.listen": edge.listen}
    if edge.certificate:
        listening["edge.listen_tls"] = edge.listen_tls
    for name, value in listening.items():
        yield from _address(name, value)
    if len(set(listening.values())) < len(listening):
        yield f"edge.listen and edge.listen_tls are both {edge.listen}; give one of them another port"
    named: dict[str, str] = dict.fromkeys(listening.values(), "where the edge itself listens")
    for setting, nodes in (("edge.nodes", edge.nodes), ("edge.backup_nodes", edge.backup_nodes)):
        for node in nodes:
            yield from _address(f"a node of {setting}", node)
            if node in named:
                yield f"{setting} holds {node}, which is {named[node]}; remove it"
            named[node] = f"in {setting} already"
    if not edge.nodes and settings.listen in listening.values():
        yield f"edge.listen is {settings.listen}, where the node listens (listen); give one of them another port"


def _address(name: str, value: str) -> Iterator[str]:
    try:
        host = parse_address(name, value).host
    except SettingsError as error:
        yield str(error)
    else:
        if not _HOST.fullmatch(host):
            yield f"{name} is {value!r}, and {host!r} is no name of a host; write for example 10.0.0.11:8000"


def _files(settings: Settings) -> Iterator[str]:
    edge = settings.edge
    pair = {"edge.certificate": edge.certificate, "edge.certificate_key": edge.certificate_key}
    if any(pair.values()) and not all(pair.values()):
        missing = next(name for name, value in pair.items() if not value)
        yield f"{missing} is not given, and the other one of the pair is; give both, or neither for an edge without TLS"
    for name, value in pair.items():
        if value and _PATH.fullmatch(value) and not Path(value).is_file():
            yield f"{name} is {value}, and there is no such file; put it there, or correct the path"
    paths = {
        "public_dir": str(settings.public_path.absolute()),
        "edge.log_dir": edge.log_dir,
        "edge.cache_dir": edge.cache_dir,
        "edge.run_dir": edge.run_dir,
        **{name: value for name, value in pair.items() if value},
    }
    for name, value in paths.items():
        if not _PATH.fullmatch(value):
            yield f"{name} is {value!r}; nginx needs a whole path of letters, digits and . _ - + @ : /"


def _rest(settings: Settings) -> Iterator[str]:
    edge = settings.edge
    for name in edge.server_names:
        if not _NAME.fullmatch(name):
            yield f"edge.server_names holds {name!r}, which is no name of a host; write for example masks.example.org"
    if not _USER.fullmatch(edge.user):
        yield f"edge.user is {edge.user!r}, which is no name of an account; write for example www-data"
    if not 0 <= edge.workers <= WORKERS_MAX:
        yield f"edge.workers is {edge.workers}; give 1 to {WORKERS_MAX}, or 0 for one on each core"
    if not 1 <= edge.connections <= CONNECTIONS_MAX:
        yield f"edge.connections is {edge.connections}; give 1 to {CONNECTIONS_MAX}"
