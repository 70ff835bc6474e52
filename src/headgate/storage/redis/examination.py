"""Whether a server can be a gate."""

from __future__ import annotations

import statistics
import time
from typing import Any

import redis.exceptions

from ...ports.gate import GateAway, GateUnusable
from .address import CLUSTER, GateAddress
from .client import AWAY, PROBE, Client, close, connect

VERSION_WANTED = (7,)
CALLS = 10
"""Calls that are timed to say how fast a server is."""


_FOR_GOOD = {
    "DB index is out of range": "it has fewer databases; leave the number out of gate.url",
    "Cluster mode is not enabled": "it is no cluster; write redis:// in gate.url",
    "SELECT is not allowed in cluster mode": "it is a cluster; write redis+cluster:// in gate.url",
}
"""What a server says that will not be otherwise when it is asked again, and what to do."""


def examine(address: GateAddress) -> str:
    """Name, version and speed of the gate's server; raises GateUnusable with what to do."""
    try:
        client = connect(address)
        try:
            return _examine(client, address)
        finally:
            close(client)
    except redis.exceptions.AuthenticationError as error:
        raise GateUnusable(
            f"the gate {address} lets nobody in ({error}); look at name and password in gate.url"
        ) from error
    except redis.exceptions.NoPermissionError as error:
        raise GateUnusable(
            f"the gate {address} does not permit what is needed ({error}); its user needs the keys headgate:* "
            "and the commands of +@read +@write +@scripting +info"
        ) from error
    except redis.exceptions.ReadOnlyError as error:
        raise GateAway(
            f"the gate {address} takes no writes, it may be a replica; name the primary in gate.url"
        ) from error
    except AWAY as error:
        for said, remedy in _FOR_GOOD.items():
            if said in str(error):
                raise GateUnusable(f"the gate {address} cannot be used: {error}; {remedy}") from error
        speaks = "speaks TLS there" if address.tls else "speaks no TLS there"
        raise GateAway(
            f"the gate {address} cannot be used: {error}; "
            f"look whether the server runs and {speaks}, and at host and port in gate.url"
        ) from error


def _examine(client: Client, address: GateAddress) -> str:
    info: dict[str, Any] = client.info("server")
    if address.kind == CLUSTER:
        # Of one of its nodes: they are all upgraded together, or soon will be.
        info = next(iter(info.values())) if "redis_version" not in info else info
    name = str(info.get("server_name", "redis"))
    version = str(info.get(f"{name}_version", info["redis_version"]))
    if tuple(map(int, version.split(".")[:1])) < VERSION_WANTED:
        wanted = ".".join(map(str, VERSION_WANTED))
        raise GateUnusable(f"the gate {address} is {name} {version}; at least {wanted} is needed, upgrade the server")
    if "cluster" in str(info.get("redis_mode", info.get("server_mode", ""))) and address.kind != CLUSTER:
        raise GateUnusable(f"the gate {address} is a node of a cluster; write redis+cluster:// in gate.url")
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        client.eval("return redis.call('INCR', KEYS[1])", 1, PROBE)
        times.append((time.perf_counter() - started) * 1000)
    client.delete(PROBE)
    return f"{name} {version} at {address}, a call takes {statistics.median(times):.1f} ms (median of {CALLS})"
