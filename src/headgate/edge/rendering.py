"""The files of an edge, as text made from the settings alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..domain.campaign import REFUSAL_OF_PHASE, Phase
from ..domain.definition import SLUG
from ..domain.outcome import OVERLOADED, UNKNOWN, Outcome, Refusal
from ..http.bodies import BODY_MAX_BYTES, TOO_LARGE
from ..http.problem import Answer, problem, status_of
from ..services.publishing import edge_refusal
from ..settings import Address, Settings, parse_address
from . import machine
from .nginx import HTTP2_DIRECTIVE, Nginx

CONNECTIONS_PER_ADDRESS = 10_000
"""More than share an address where a carrier translates addresses; a machine with ten of them can take no more than
an edge of two workers holds."""

HTTPS_PORT = 443

REFRESH_S = 5
"""How soon the page of whoever finds no node asks again."""

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
    values: dict[str, object] = {
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
        "unknown": problem(UNKNOWN).body.decode(),
        "overloaded": problem(OVERLOADED).body.decode(),
        "retry_after_s": UNKNOWN.retry_after_s,
        "refusals": _refusals(),
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
    values["busy_page"] = environment.get_template("busy.html").render(refresh_s=REFRESH_S).replace("\n", "")
    return {place: environment.get_template(name).render(values) for place, name in FILES.items()}


def _asked(address: Address) -> Address:
    """Where a node is found from its own machine."""
    wildcard = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- to be replaced
    return Address(wildcard.get(address.host, address.host), address.port)


def _refusals() -> list[tuple[str, int, str]]:
    """What the edge says while a file of that outcome is published for `$campaign`: (outcome, status, body)."""
    # Each is a look at a file, so what most people are told comes first.
    phases = sorted(REFUSAL_OF_PHASE, key=lambda phase: phase is not Phase.SOLD_OUT)
    told = [edge_refusal(phase, "$campaign") for phase in phases]
    return [(refusal.outcome, status_of(refusal), problem(refusal).body.decode()) for refusal in told]


def _problems() -> list[tuple[str, int, Answer]]:
    """What nginx answers by itself: (location, status, answer)."""
    told = {"= /invalid": _INVALID, "@too_large": TOO_LARGE, "@rate_limited": _TOO_MANY, "@overloaded": OVERLOADED}
    return [(location, status_of(refusal), problem(refusal)) for location, refusal in told.items()]
