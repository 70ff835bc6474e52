"""How every connection to the gate is opened.

Nothing is sent twice: a client library that repeats a call after a time-out would count it twice.  What a
server that moved away, or lost its scripts, answers instead of doing anything is followed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.backoff
import redis.cluster
import redis.exceptions
import redis.retry
import redis.sentinel

from ...ports.gate import GateAway
from .address import CLUSTER, SENTINEL, GateAddress

CONNECT_S = 0.5
ANSWER_S = 0.5
"""A server that needs longer than this is treated as one that is away; it usually takes a millisecond."""

CONNECTIONS_MAX = 16
"""Of one process to one server: more than it ever has calls under way."""

Client = redis.Redis | redis.RedisCluster
AsyncClient = redis.asyncio.Redis | redis.asyncio.RedisCluster

AWAY = (redis.RedisError, redis.exceptions.RedisClusterException, OSError, TimeoutError)
"""What calls raise where the server could not be asked, or refused."""


def _options(address: GateAddress) -> dict[str, Any]:
    return {
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": ANSWER_S,
        "ssl": address.tls,
        "protocol": 2,
    }


def connect(address: GateAddress) -> Client:
    """Opens nothing yet, except that a cluster is asked for its nodes."""
    options = {**_options(address), "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0)}
    if address.kind == CLUSTER:
        nodes = [redis.cluster.ClusterNode(host, port) for host, port in address.hosts]
        return redis.RedisCluster(startup_nodes=nodes, max_connections=CONNECTIONS_MAX, **options)
    options["db"] = address.database
    if address.kind == SENTINEL:
        sentinels = redis.sentinel.Sentinel(address.hosts, socket_timeout=ANSWER_S, socket_connect_timeout=CONNECT_S)
        master: redis.Redis = sentinels.master_for(address.service, max_connections=CONNECTIONS_MAX, **options)
        return master
    ((host, port),) = address.hosts
    return redis.Redis(host=host, port=port, max_connections=CONNECTIONS_MAX, **options)


class Door:
    """One thread's way to the server: opened when it is used, and anew after a failure."""

    def __init__(self, address: GateAddress) -> None:
        self.address = address
        self._client: Client | None = None

    def call(self, call: Callable[[Client], Any]) -> Any:
        """Raises GateAway; then what was asked for may have been done."""
        try:
            if self._client is None:
                self._client = connect(self.address)
            return call(self._client)
        except AWAY as error:
            # The next call opens other connections: after a failover they lead somewhere else.
            self.close()
            raise GateAway(f"the gate {self.address} cannot be used: {error}") from error

    def run(self, script: Script, key: str, *arguments: Any) -> Any:
        """Run a script that is about one key; raises GateAway."""

        def run(client: Client) -> Any:
            try:
                return client.evalsha(script.sha, 1, key, *arguments)
            except redis.exceptions.NoScriptError:
                # Not there yet, or lost in a restart or failover: nothing has been done.
                return client.eval(script.text, 1, key, *arguments)

        return self.call(run)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            close(client)


class Script(NamedTuple):
    text: str
    sha: str

    @staticmethod
    def named(name: str) -> Script:
        """The script of that file, which lies beside this one."""
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def close(client: Client) -> None:
    """Also the connections to sentinels, which the client of a primary leaves open."""
    client.close()
    if isinstance(client, redis.Redis) and isinstance(client.connection_pool, redis.sentinel.SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            sentinel.close()


async def close_async(client: AsyncClient) -> None:
    """The same; also what a cluster's client has forgotten: after an error it takes itself for closed."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, redis.asyncio.sentinel.SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()
    if isinstance(client, redis.asyncio.RedisCluster):
        for nodes in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(nodes)


async def open_async(address: GateAddress) -> AsyncClient:
    """The same for an event loop."""
    options = {**_options(address), "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)}
    if address.kind == CLUSTER:
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in address.hosts]
        # 0: a slot that moved is followed, and no call makes the others lose their connections by asking for all.
        cluster = redis.asyncio.RedisCluster(
            startup_nodes=nodes, max_connections=CONNECTIONS_MAX, reinitialize_steps=0, **options
        )
        try:
            return await cluster.initialize()
        except BaseException:
            await close_async(cluster)
            raise
    options["db"] = address.database
    if address.kind == SENTINEL:
        sentinels = redis.asyncio.sentinel.Sentinel(
            address.hosts, socket_timeout=ANSWER_S, socket_connect_timeout=CONNECT_S
        )
        master: redis.asyncio.Redis = sentinels.master_for(address.service, max_connections=CONNECTIONS_MAX, **options)
        return master
    ((host, port),) = address.hosts
    return redis.asyncio.Redis(host=host, port=port, max_connections=CONNECTIONS_MAX, **options)
