"""How the store is reached, and what its errors mean for whoever asked.

Nothing is sent twice, which the library would do by default.  Only what a server answers instead of doing
anything is followed: a slot that moved, a script that it does not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.backoff

CONNECT_S = 0.5
ANSWER_S = 1.0
"""A healthy server needs a millisecond; a consumer's wait for news is shorter than this too."""

CONNECTIONS_MAX = 64
"""Of one process.  Calls beyond that wait for a free one instead of failing."""

AWAY_S = 0.25
"""Once nobody could connect, everybody is told so for this long instead of trying in turn."""

SINGLE, CLUSTER = "redis", "redis+cluster"

AsyncClient = redis.asyncio.Redis | redis.asyncio.RedisCluster
T = TypeVar("T")

_log = logging.getLogger("redis_first")


class UnusableUrl(ValueError):
    """The URL of the store cannot be used; the message shows no password."""


class GateAway(Exception):
    """The store could not be asked, or refused: nothing was done."""


class AnswerLost(Exception):
    """The call was sent and not answered: nobody knows whether it was done."""


class _NotConnected(redis.exceptions.ConnectionError):
    """A connection could not be made, so nothing was sent on it."""


# What is raised where nothing was done.  Redirections that led nowhere are among the cluster's errors.
_NOT_DONE = (
    _NotConnected,
    redis.exceptions.ResponseError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.MaxConnectionsError,
    redis.exceptions.ClusterError,
    redis.exceptions.RedisClusterException,
)


class _Connection(redis.asyncio.Connection):
    """Says whether it failed before anything was sent, for which the library has the same errors as afterwards."""

    async def connect_check_health(self, *arguments: Any, **options: Any) -> None:
        try:
            await super().connect_check_health(*arguments, **options)
        except (redis.RedisError, OSError) as error:
            raise _NotConnected(str(error)) from error


class Script:
    def __init__(self, text: str) -> None:
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: AsyncClient, keys: Sequence[str], *arguments: str | int) -> Any:
        try:
            return await client.evalsha(self._sha, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            # Not there yet, or lost in a restart or failover: nothing was done.
            return await client.eval(self._text, len(keys), *keys, *arguments)


class _Opened:
    """A client, the calls under way on it, and whether it has been given up."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.calls = 0
        self.left = False


class Client:
    """One event loop's way to the store."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet; raises UnusableUrl."""
        self._url = _checked(url)
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self._opening = asyncio.Lock()
        self._opened: _Opened | None = None
        self._away_until = 0.0

    async def call(self, ask: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """The answer; raises GateAway or AnswerLost."""
        async with self._slots:
            opened = await self._open()
            opened.calls += 1
            try:
                return await ask(opened.client)
            except _NOT_DONE as error:
                # A server that says no to one call answers the others; one that takes no writes moved elsewhere.
                if not isinstance(error, redis.exceptions.ResponseError) or isinstance(
                    error, redis.exceptions.ReadOnlyError
                ):
                    self._leave(opened, error)
                raise GateAway(f"the gate refused or was not reached: {error}") from error
            except (redis.RedisError, OSError) as error:
                self._leave(opened, error)
                raise AnswerLost(f"the gate did not answer: {error}") from error
            finally:
                opened.calls -= 1
                await _close_if_left(opened)

    async def close(self) -> None:
        opened = self._opened
        if opened is not None:
            opened.left, self._opened = True, None
            await _close_if_left(opened)

    async def _open(self) -> _Opened:
        # One at a time: a cluster's client that several calls initialise at once cuts them all off.
        async with self._opening:
            if self._opened is None:
                now = asyncio.get_running_loop().time()
                if now < self._away_until:
                    raise GateAway("the gate could not be reached a moment ago")
                try:
                    self._opened = _Opened(await _connect(self._url))
                except (redis.RedisError, redis.exceptions.RedisClusterException, OSError) as error:
                    self._away_until = asyncio.get_running_loop().time() + AWAY_S
                    _log.warning("the gate cannot be reached: %s", error)
                    raise GateAway(f"the gate cannot be reached: {error}") from error
            return self._opened

    def _leave(self, opened: _Opened, error: Exception) -> None:
        """Later calls connect anew, after a failover to somewhere else; those under way may still be answered."""
        opened.left = True
        if self._opened is opened:
            self._opened = None
            # Once, and not for everybody who was waiting.
            _log.warning("the gate's connections are given up: %s", error)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in (SINGLE, CLUSTER) and all(_places(url))
    except ValueError:
        usable = False
    if not usable:
        raise UnusableUrl(
            f"the gate's URL begins with {url.partition('://')[0]!r} or names no host and port; "
            "write redis://HOST:PORT or redis+cluster://HOST:PORT,HOST:PORT"
        )
    return url


def _places(url: str) -> list[tuple[str, int]]:
    """Hosts and ports; raises ValueError."""
    places = urlsplit(url).netloc.rpartition("@")[2].split(",")
    parsed = [urlsplit(f"//{place}") for place in places]
    return [(one.hostname or "", one.port or 6379) for one in parsed]


async def _connect(url: str) -> AsyncClient:
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": ANSWER_S,
        "retry": redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
        "max_connections": CONNECTIONS_MAX,
        "decode_responses": True,
        "protocol": 2,
    }
    client: AsyncClient
    if urlsplit(url).scheme == SINGLE:
        client = redis.asyncio.Redis.from_url(url, connection_class=_Connection, **options)
    else:
        username, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
        client = redis.asyncio.RedisCluster(
            startup_nodes=[redis.asyncio.cluster.ClusterNode(host, port) for host, port in _places(url)],
            username=unquote(username) or None,
            password=unquote(password) or None,
            # 0: a slot that moved is followed, and no call makes the others lose their connections by asking for all.
            reinitialize_steps=0,
            **options,
        )
        # There is no argument for it; what the client makes from here on takes it from here.
        client.connection_kwargs["connection_class"] = _Connection
    try:
        if isinstance(client, redis.asyncio.RedisCluster):
            await client.initialize()
        else:
            await client.ping()
    except BaseException:
        await _close(client)
        raise
    return client


async def _close_if_left(opened: _Opened) -> None:
    if opened.left and not opened.calls:
        # Nobody waits for what a connection says that was given up.
        with contextlib.suppress(redis.RedisError, OSError):
            await _close(opened.client)


async def _close(client: AsyncClient) -> None:
    await client.aclose()
    if isinstance(client, redis.asyncio.RedisCluster):
        # After an error it takes itself for closed, and would leave its connections open.
        for nodes in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(nodes)
