"""How every connection to the gate is opened.

Nothing is sent twice: a client library that repeats a call after a time-out would count it twice.  What a
server that moved away, or lost its scripts, answers instead of doing anything is followed.
"""

from __future__ import annotations

from typing import Any

import hiredis
import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.backoff
import redis.cluster
import redis.exceptions
import redis.retry
import redis.sentinel

from .address import CLUSTER, SENTINEL, GateAddress

CONNECT_S = 0.5
ANSWER_S = 0.5
"""A server that needs longer than this is treated as one that is away; it usually takes a millisecond."""

CONNECTIONS_MAX = 16
"""Of one process to one server: more than it ever has calls under way."""

PROBE = "headgate:probe"
"""A key that is there for a moment at most."""

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


class _Packer:
    """Commands are written by hiredis alone: redis-py looks at each argument of a batch before."""

    def pack(self, name: str, *arguments: Any) -> list[bytes]:
        # Names of two words are two arguments.
        return [hiredis.pack_command((*name.split(), *arguments))]


def connect(address: GateAddress) -> Client:
    """For one thread.  Raises one of AWAY where the server, or every node of the cluster, is."""
    options = {**_options(address), "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0)}
    if address.kind == CLUSTER:
        nodes = [redis.cluster.ClusterNode(host, port) for host, port in address.hosts]
        return redis.RedisCluster(startup_nodes=nodes, max_connections=CONNECTIONS_MAX, **options)
    options |= {"db": address.database, "command_packer": _Packer()}
    if address.kind == SENTINEL:
        sentinels = redis.sentinel.Sentinel(address.hosts, socket_timeout=ANSWER_S, socket_connect_timeout=CONNECT_S)
        master: redis.Redis = sentinels.master_for(address.service, max_connections=CONNECTIONS_MAX, **options)
        return master
    ((host, port),) = address.hosts
    direct = redis.SSLConnection if options.pop("ssl") else redis.Connection
    pool = redis.ConnectionPool(direct, max_connections=CONNECTIONS_MAX, host=host, port=port, **options)
    # To take a connection from the pool for each call and to give it back takes a third of the call.
    return redis.Redis(connection_pool=pool, single_connection_client=True)


def look_at(client: Client) -> None:
    """Before a call: a connection that the other side has closed meanwhile is opened again, as those of a pool are."""
    kept = getattr(client, "connection", None)
    if kept is None:
        return
    try:
        closed = kept.is_connected and kept.can_read()
    except (redis.RedisError, OSError):
        closed = True
    if closed:
        # The next command connects.
        kept.disconnect()


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


class _Packed:
    """Commands are written by hiredis, as elsewhere in redis-py; its own way for event loops takes six times longer."""

    def pack_command(self, *arguments: Any) -> list[bytes]:
        return [hiredis.pack_command(arguments)]


class _Connection(_Packed, redis.asyncio.Connection):
    """To one server, or a node of a cluster."""


class _TlsConnection(_Packed, redis.asyncio.SSLConnection):
    """The same with TLS."""


class _WatchedConnection(_Packed, redis.asyncio.sentinel.SentinelManagedConnection):
    """To whom sentinels say is the primary."""


class _WatchedTlsConnection(_Packed, redis.asyncio.sentinel.SentinelManagedSSLConnection):
    """The same with TLS."""


async def open_async(address: GateAddress) -> AsyncClient:
    """The same for an event loop; a server has answered."""
    options = {**_options(address), "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)}
    if address.kind == CLUSTER:
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in address.hosts]
        # 0: a slot that moved is followed, and no call makes the others lose their connections by asking for all.
        cluster = redis.asyncio.RedisCluster(
            startup_nodes=nodes, max_connections=CONNECTIONS_MAX, reinitialize_steps=0, **options
        )
        # What its nodes are reached with; it takes no class of ours otherwise.
        cluster.connection_kwargs["connection_class"] = _TlsConnection if address.tls else _Connection
        try:
            return await cluster.initialize()
        except BaseException:
            await close_async(cluster)
            raise
    options |= {"db": address.database, "max_connections": CONNECTIONS_MAX}
    tls = options.pop("ssl")
    if address.kind == SENTINEL:
        sentinels = redis.asyncio.sentinel.Sentinel(
            address.hosts, socket_timeout=ANSWER_S, socket_connect_timeout=CONNECT_S
        )
        watched = _WatchedTlsConnection if tls else _WatchedConnection
        client: redis.asyncio.Redis = sentinels.master_for(
            address.service, connection_class=watched, ssl=tls, **options
        )
    else:
        ((host, port),) = address.hosts
        direct = _TlsConnection if tls else _Connection
        client = redis.asyncio.Redis.from_pool(
            redis.asyncio.ConnectionPool(connection_class=direct, host=host, port=port, **options)
        )
    try:
        # So that whoever is told of a failure here knows that nothing of theirs was sent.  Our user may read, not ping.
        await client.exists(PROBE)
    except BaseException:
        await close_async(client)
        raise
    return client
