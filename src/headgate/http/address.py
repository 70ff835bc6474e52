"""Whose request it is, by network address.

Only what a trusted proxy says is believed: `X-Forwarded-For` is read from the right, and the first
address that is not a trusted proxy's is the client's.  Whatever stands further left was written by
the client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence

_FORWARDED_HOPS_MAX = 20
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientAddress:
    """Finds the address that limits apply to: an IPv4 address, or the /64 network of an IPv6 one."""

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        self._trusted: list[_Network] = [ipaddress.ip_network(network) for network in trusted_proxies]

    def of(self, peer: str, lines_of: Callable[[str], Sequence[str]]) -> str:
        """`peer` is `host:port` as the server saw it; `lines_of` gives a header's lines in their order."""
        host = peer.rpartition(":")[0].strip("[]")
        if self._trusted and self._is_trusted(host):
            # Some proxies add a line of their own below the client's; together they are one list (RFC 9110, 5.3).
            host = self._rightmost_stranger(host, ",".join(lines_of("x-forwarded-for")))
        return _group(host) if ":" in host else host

    def _rightmost_stranger(self, host: str, forwarded_for: str) -> str:
        for hop in reversed(forwarded_for.split(",")[-_FORWARDED_HOPS_MAX:]):
            candidate = _without_port(hop.strip())
            try:
                ipaddress.ip_address(candidate)
            except ValueError:
                return host
            host = candidate
            if not self._is_trusted(host):
                return host
        return host

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        # A listener of both families sees an IPv4 proxy as an IPv6 address.
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._trusted)


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _group(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    # One subscriber usually has a whole /64, so counting single addresses would count nothing.
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)
