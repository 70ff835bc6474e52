"""The files of an edge, as text made from the settings alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..domain.definition import SLUG
from ..domain.outcome import OVERLOADED, UNKNOWN, Outcome, Refusal
from ..http.bodies import BODY_MAX_BYTES, TOO_LARGE
from ..http.problem import Answer, problem, status_of
from ..settings import Address, Settings, parse_address
from . import machine
from .nginx import HTTP2_DIRECTIVE, Nginx

CONNECTIONS_PER_ADDRESS = 10_000
"""More than share an address where a carrier translates addresses; a machine with ten of them can take no more than
an edge of two workers holds."""

HTTPS_PORT = 443

FILES: Mapping[str, str] = {
    "nginx/nginx.conf": "nginx.conf",
    "nginx/headgate/zones.conf": "zones.conf",
    "nginx/headgate/upstreams.conf": "upstreams.conf",
    "nginx/headgate/proxy.conf": "proxy.conf",
    "nginx/headgate/routes.conf": "routes.conf",
    "nginx/headgate/errors.conf": "errors.conf",
    "sysctl.d/60-headgate.conf": "sysctl.conf",
    "limits.d/60-headgate.conf": "limits.conf",
    "systemd/headgate.service": "headgate.service",
    "systemd/headgate-edge.service": "headgate-edge.service",
    "logrotate.d/headgate-edge": "logrotate.conf",
}
"""Files by their place, and the templates that they are made from."""

_TOO_MANY = Refusal(
    Outcome.RATE_LIMITED, "Too many requests from your network address; please wait a moment.", retry_after_s=1
)
_INVALID = Refusal(Outcome.INVALID, "The request cannot be read.")


def render(settings: Settings, nginx: Nginx, program: Path, nginx_program: Path, directory: Path) -> dict[str, str]:
    """Contents of FILES by their place in `directory`, where they are going to lie.

    `program` is that of Headgate, `nginx` what `nginx_program` says of itself.  Settings have been checked, so that no
    value of theirs means anything else to nginx.
    """
    edge = settings.edge
    tls = bool(edge.certificate)
    first = f" reuseport backlog={machine.NGINX_BACKLOG}"
    port = parse_address("edge.listen_tls", edge.listen_tls).port
    values = {
        "edge": edge,
        "nginx": nginx,
        "machine": machine,
        "tls": tls,
        "http2_directive": nginx.version >= HTTP2_DIRECTIVE,
        "names": " ".join(edge.server_names) or "_",
        # Once for each address: where other names are turned away, whoever does that has it.
        "backlog": "" if edge.server_names else first,
        "tls_port": "" if port == HTTPS_PORT else f":{port}",
        "nodes": edge.nodes or (_asked(settings.listen_address),),
        "trusted": settings.trusted_proxies,
        "per_minute": settings.limits.per_ip_per_minute,
        "connections_per_address": CONNECTIONS_PER_ADDRESS,
        "body_max": BODY_MAX_BYTES,
        "public": settings.public_path.absolute(),
        "slug": SLUG.pattern,
        "problems": _problems(),
        "program": program,
        "nginx_program": nginx_program,
        "configuration": directory.absolute() / "nginx/nginx.conf",
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Configuration is no HTML; values are held against what they may contain when settings are read.
        autoescape=False,  # noqa: S701 -- see above
    )
    return {place: environment.get_template(name).render(values) for place, name in FILES.items()}


def _asked(address: Address) -> Address:
    """Where a node is found from its own machine."""
    wildcard = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- to be replaced
    return Address(wildcard.get(address.host, address.host), address.port)


def _problems() -> list[tuple[str, int, Answer]]:
    """What nginx answers by itself: (name, status, answer)."""
    told = {
        "invalid": _INVALID,
        "too_large": TOO_LARGE,
        "rate_limited": _TOO_MANY,
        "overloaded": OVERLOADED,
        "unknown": UNKNOWN,
    }
    return [(name, status_of(refusal), problem(refusal)) for name, refusal in told.items()]
