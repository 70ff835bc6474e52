"""Events as HTTP requests, signed as Standard Webhooks are.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import Sequence

import httpx2
import msgspec

from .. import __version__
from ..domain.event import Event, Position
from ..ports.clock import Clock
from ..ports.destination import NotDelivered
from ..services.event_documents import document

PAGE = 100
"""Events in one request: some 25 kB."""

ANSWER_S = 5.0
"""From the look-up of the host's name to the answer: a receiver takes events in, and works on them later."""

IDLE_S = 2.0
"""How long a connection is kept between requests; few receivers close theirs before that."""

BODY_MAX_BYTES = 16_384
"""What is read of an answer so that its connection can be used again; nobody looks at it."""

GONE = 410


def sign(secrets: Sequence[bytes], id_: str, timestamp_s: int, body: bytes) -> str:
    """The value of `webhook-signature`: one signature for each secret, so that a receiver may change to another."""
    signed = f"{id_}.{timestamp_s}.".encode() + body
    digests = (hmac.digest(secret, signed, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class Webhook:
    """See `headgate.ports.destination.Destination`.  Messages do not show the URL, which may hold a secret."""

    page = PAGE

    def __init__(self, name: str, url: str, secrets: Sequence[bytes], clock: Clock) -> None:
        """Without `secrets` nothing is signed."""
        self.name = f"webhook:{name}"
        self._url = url
        self._secrets = secrets
        self._clock = clock
        # The system's certificates, or those that SSL_CERT_FILE names.
        self._certificates = ssl.create_default_context()
        # asyncio, because no other way bounds the whole of a request: a receiver may send a byte now and then.
        self._runner = asyncio.Runner()
        self._client = httpx2.AsyncClient(
            verify=self._certificates,
            follow_redirects=False,
            # No proxies that somebody has set for other programs.
            trust_env=False,
            # `_post` bounds all of it together.
            timeout=None,
            limits=httpx2.Limits(max_connections=1, keepalive_expiry=IDLE_S),
            headers={"user-agent": f"headgate/{__version__}", "content-type": "application/json"},
        )

    def place(self) -> None:
        """A receiver keeps no account."""

    def deliver(self, after: Position, events: Sequence[Event]) -> bool:  # noqa: ARG002 -- see `place`
        body = msgspec.json.encode({"events": [document(event) for event in events]})
        # Of what is in it: a request that is repeated has the same, and one with an event more has another.
        id_ = f"batch_{hashlib.sha256(body).hexdigest()[:32]}"
        timestamp_s = self._clock.now_ms() // 1000
        headers = {"webhook-id": id_, "webhook-timestamp": str(timestamp_s)}
        if self._secrets:
            headers["webhook-signature"] = sign(self._secrets, id_, timestamp_s, body)
        status = self._runner.run(self._post(body, headers))
        if not 200 <= status < 300:
            raise NotDelivered(_meaning(status))
        return True

    def reach(self) -> None:
        """No request is sent: the receiver would have to know what it means."""
        self._runner.run(self._connect())

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    async def _connect(self) -> None:
        url = httpx2.URL(self._url)
        context, port = (self._certificates, 443) if url.scheme == "https" else (None, 80)
        try:
            async with asyncio.timeout(ANSWER_S):
                _, writer = await asyncio.open_connection(url.host, url.port or port, ssl=context)
                writer.close()
        except TimeoutError as error:
            raise _silent() from error
        except OSError as error:
            raise NotDelivered(f"it cannot be reached ({type(error).__name__}: {error})") from error

    async def _post(self, body: bytes, headers: dict[str, str]) -> int:
        status = 0
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                # From here on it counts, whatever becomes of the rest.
                status = response.status_code
                await _drain(response)
        except TimeoutError as error:
            if not status:
                raise _silent() from error
        except (httpx2.HTTPError, OSError) as error:
            if not status:
                raise NotDelivered(f"it cannot be reached ({type(error).__name__}: {error})") from error
        return status


def _silent() -> NotDelivered:
    return NotDelivered(f"it did not answer within {ANSWER_S:g} s")


async def _drain(response: httpx2.Response) -> None:
    received = 0
    async for part in response.aiter_raw():
        received += len(part)
        if received > BODY_MAX_BYTES:
            return


def _meaning(status: int) -> str:
    if status == GONE:
        return (
            "it answered 410 Gone and wants no more events; until it is removed from events.webhooks it is asked again"
        )
    if 300 <= status < 400:
        return f"it answered {status}, and redirects are not followed; give the address that this leads to"
    return f"it answered {status}"
