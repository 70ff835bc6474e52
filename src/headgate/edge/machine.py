"""What a machine that holds a crowd's connections is set to, and why.

The values are those of a launch with 220,000 people at once that was told of in public; one more of its settings,
`tcp_tw_recycle`, broke clients behind shared addresses and is no longer in Linux (since 4.12).
"""

from __future__ import annotations

from typing import NamedTuple


class Value(NamedTuple):
    """One setting of the machine or of nginx: what it is called, what it is set to, and why."""

    name: str
    value: int
    reason: str


SOMAXCONN = 4_096

KERNEL = (
    Value("net.core.somaxconn", SOMAXCONN, "connections that wait to be accepted; at an opening thousands come"),
    Value("net.ipv4.tcp_max_syn_backlog", 4096, "connections that are being made; beyond it they have to try again"),
    Value("net.ipv4.tcp_max_tw_buckets", 50_000, "ended connections that are kept in mind, against late packets"),
    Value("net.ipv4.tcp_tw_reuse", 1, "ports of closed connections to the nodes serve again at once"),
    Value("net.ipv4.tcp_timestamps", 1, "by which a reused port tells late packets from new ones"),
)  # fmt: skip

NEVER_SET = "net.ipv4.tcp_tw_recycle"
"""Reported where an old kernel has it switched on: behind a shared address, connections of other people fail."""

OPEN_FILES = 65_535
"""A connection is a file, and one that goes on to a node is two."""

NGINX_OPEN_FILES = 102_400
NGINX_CONNECTIONS = 10_240
NGINX_BACKLOG = 65_533
