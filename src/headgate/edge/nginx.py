"""Which nginx there is, and what it can do."""

from __future__ import annotations

import re
from typing import NamedTuple

Version = tuple[int, int, int]

OLDEST: Version = (1, 22, 0)
"""The oldest that a supported distribution has, and that every rendered directive is tried on."""

HTTP2_DIRECTIVE: Version = (1, 25, 1)
"""From here on HTTP/2 is a directive of its own (https://nginx.org/en/docs/http/ngx_http_v2_module.html)."""

REQUIRED = ("http_realip_module",)
FOR_TLS = ("http_ssl_module", "http_v2_module")
# What is named is built unless it is left out on purpose.
_LEFT_OUT = {
    "limit_req": "http_limit_req_module",
    "limit_conn": "http_limit_conn_module",
    "proxy_pass": "http_proxy_module",
    "map": "http_map_module",
    "geo": "http_geo_module",
    "keepalive": "http_upstream_keepalive_module",
    "zone": "http_upstream_zone_module",
}

_VERSION = re.compile(r"nginx version: [^/\s]+/(\d+)\.(\d+)\.(\d+)")
_WITH = re.compile(r"--with-(\w+_module)(?!=dynamic)\b")
_CONFIGURATION = re.compile(r"--conf-path=(\S+)")
_WITHOUT = re.compile(r"--without-(\w+_module)\b")


class UnusableNginx(Exception):
    """An nginx that cannot run what would be rendered; the message says what it lacks and what to do."""


class Nginx(NamedTuple):
    """What `nginx -V` says of itself."""

    version: Version
    has: frozenset[str]
    lacks: frozenset[str] = frozenset()
    configuration: str = ""
    """What it reads where nothing else is named."""


ANY = Nginx(OLDEST, frozenset({*REQUIRED, *FOR_TLS}))
"""What is rendered for where there is none to ask."""


def parse_nginx(said: str) -> Nginx:
    """Of the output of `nginx -V`; raises UnusableNginx where it is none."""
    found = _VERSION.search(said)
    if found is None:
        raise UnusableNginx(f"nginx -V said {said[:100]!r}, which names no version; name another program with --nginx")
    major, minor, patch = map(int, found.groups())
    configuration = _CONFIGURATION.search(said)
    return Nginx(
        (major, minor, patch), frozenset(_WITH.findall(said)), frozenset(_WITHOUT.findall(said)),
        configuration[1] if configuration else "",
    )  # fmt: skip


def check_nginx(nginx: Nginx, *, tls: bool) -> None:
    """Raises UnusableNginx."""
    version = ".".join(map(str, nginx.version))
    if nginx.version < OLDEST:
        raise UnusableNginx(
            f"nginx is {version}; what is rendered needs {'.'.join(map(str, OLDEST))} or later; install a newer one, "
            "or name it with --nginx"
        )
    for module in REQUIRED + (FOR_TLS if tls else ()):
        if module not in nginx.has:
            raise UnusableNginx(
                f"nginx {version} was built without {module}; install a package that has it (Debian: nginx), or name "
                "another program with --nginx"
            )
    for directive, module in _LEFT_OUT.items():
        if module in nginx.lacks:
            raise UnusableNginx(
                f"nginx {version} was built without {module}, and `{directive}` needs it; install another"
            )
