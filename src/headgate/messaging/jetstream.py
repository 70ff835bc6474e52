"""Events on NATS JetStream; see `headgate.ports.destination.Destination`.

https://docs.nats.io/nats-concepts/jetstream
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.errors import ConnectionClosedError, Error, NoServersError
from nats.js import JetStreamContext
from nats.js.api import Header, StreamConfig
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from ..domain.event import Event, Position
from ..ports.destination import NotDelivered
from ..services.event_documents import document

SUBJECTS = "headgate.events"
"""Followed by the event's type: `headgate.events.claim.confirmed`."""

STREAM = "headgate"
"""Made where no stream takes our subjects."""

KEPT_S = 7 * 86_400
"""As long as the ledger keeps what a destination has not got."""
BYTES_MAX = 4 * 1024**3
"""Some ten million events; the oldest go first."""
DUPLICATES_S = 600
"""Within this time the server drops what comes twice: longer than a keeper needs to follow another."""

PAGE = 250
"""Events that are under way at once, some 60 kB."""
CONNECT_S = 2
ANSWER_S = 5.0
"""For all of a page, with the connection where there is none."""
IDLE_S = 10.0
"""A connection that was not used for longer is made anew: nobody answers the server's pings between two pages."""


class JetStream:
    """Every event is a message of its own, with the event's id as its message id.

    After a failure in the middle of a page some of it may be there and some not, and what is missing comes behind: the
    order of events is that of their positions.
    """

    name = "nats"
    page = PAGE

    def __init__(self, url: str, secret_file: str) -> None:
        """`secret_file` holds `USER:PASSWORD` or a token; without, nothing is said about who we are."""
        self._url = url
        self._secret_file = secret_file
        self._runner = asyncio.Runner()
        self._client: Client | None = None
        self._closed: asyncio.Future[None]
        self._heard: Exception | None = None
        self._used_s = 0.0

    def place(self) -> None:
        """What is there already is dropped by its id, so there is no account to read."""

    def deliver(self, after: Position, events: Sequence[Event]) -> bool:  # noqa: ARG002 -- see `place`
        self._runner.run(self._within(self._tell(events)))
        return True

    def reach(self) -> None:
        self._runner.run(self._within(self._look()))

    def close(self) -> None:
        self._runner.run(self._let_go())
        self._runner.close()

    async def _tell(self, events: Sequence[Event]) -> None:
        loop = asyncio.get_running_loop()
        if self._client is None or not self._client.is_connected or loop.time() - self._used_s > IDLE_S:
            stream = await self._connect()
            try:
                await stream.find_stream_name_by_subject(f"{SUBJECTS}.>")
            except NotFoundError:
                await stream.add_stream(
                    StreamConfig(
                        name=STREAM, subjects=[f"{SUBJECTS}.>"], max_age=KEPT_S, max_bytes=BYTES_MAX,
                        duplicate_window=DUPLICATES_S,
                    )
                )  # fmt: skip
        assert self._client is not None, "it is connected"
        await self._answered(_publish(self._client.jetstream(), events))
        self._used_s = loop.time()

    async def _look(self) -> None:
        stream = await self._connect()
        # The first events make it.
        with suppress(NotFoundError):
            await stream.find_stream_name_by_subject(f"{SUBJECTS}.>")

    async def _within(self, speaking: Coroutine[Any, Any, None]) -> None:
        """Raises NotDelivered, and lets go of a connection with which something is wrong."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await speaking
        except TimeoutError as error:
            await self._let_go()
            raise NotDelivered(f"it did not answer within {ANSWER_S:g} s") from error
        except APIError as error:
            # The next one looks for the stream anew.
            await self._let_go()
            raise NotDelivered(_meaning(error)) from error
        except (Error, OSError) as error:
            await self._let_go()
            # Of a connection that cannot be made the library only says that there is none.
            why = self._heard if isinstance(error, NoServersError) and self._heard is not None else error
            raise NotDelivered(f"it cannot be reached ({type(why).__name__}: {why})") from error

    async def _connect(self) -> JetStreamContext:
        await self._let_go()
        user, password, token = _identity(self._secret_file)
        self._closed = asyncio.get_running_loop().create_future()
        self._client, self._heard = Client(), None
        await self._client.connect(
            self._url,
            name="headgate",
            connect_timeout=CONNECT_S,
            # What is told of a connection that broke is told by whoever waits for an answer.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            error_cb=self._hear,
            closed_cb=self._has_closed,
            user=user,
            password=password,
            token=token,
        )
        return self._client.jetstream()

    async def _answered(self, published: Coroutine[Any, Any, None]) -> None:
        """Until all is answered, or nothing can be any more: the library would wait for that too."""
        publishing = asyncio.ensure_future(published)
        try:
            await asyncio.wait((publishing, self._closed), return_when=asyncio.FIRST_COMPLETED)
            if not publishing.done():
                raise ConnectionClosedError
            publishing.result()
        finally:
            publishing.cancel()

    async def _hear(self, error: Exception) -> None:
        self._heard = error

    async def _has_closed(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    async def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Error, OSError):
                await client.close()


async def _publish(stream: JetStreamContext, events: Sequence[Event]) -> None:
    """All go out in their order, then all answers are waited for."""
    await asyncio.gather(
        *(
            stream.publish(
                f"{SUBJECTS}.{event.kind}",
                msgspec.json.encode(document(event)),
                timeout=ANSWER_S,
                headers={Header.MSG_ID: event.id, "Content-Type": "application/json"},
            )
            for event in events
        )
    )


def _meaning(error: APIError) -> str:
    if isinstance(error, ServiceUnavailableError) and not error.description:
        return "it has no JetStream for us; switch it on for the server, and for our account"
    return f"its stream does not take events: {error.description or error}"


def _identity(secret_file: str) -> tuple[str | None, str | None, str | None]:
    """User, password, token."""
    if not secret_file:
        return None, None, None
    # Read when it is needed, so that it can be changed while this runs.
    secret = Path(secret_file).read_text(encoding="utf-8").strip()
    user, colon, password = secret.partition(":")
    return (user, password, None) if colon else (None, None, secret)
