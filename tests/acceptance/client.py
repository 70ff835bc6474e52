"""HTTP clients of the tests: a well-behaved one for the participant API, and one that sends bytes exactly as given."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException, HTTPResponse
from typing import Any

import httpx2

OUTCOMES = {
    "not_open", "closed", "paused", "sold_out", "wrong_pool", "limit_reached", "invalid", "no_session", "not_verified",
    "not_eligible", "refused", "wrong_code", "challenge", "rate_limited", "overloaded", "unknown", "unknown_campaign",
}  # fmt: skip
PROBLEM = "application/problem+json"
_JSON = "application/json"


def claims_path(slug: str) -> str:
    return f"/api/v1/campaigns/{slug}/claims"


def when(value: object) -> datetime:
    """A time of the API; it always has a zone."""
    moment = datetime.fromisoformat(str(value))
    assert moment.tzinfo is not None, f"a time without zone: {value!r}"
    return moment


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Api:
    """The participant API as a careful caller uses it: every call carries its own token, no cookie is kept."""

    def __init__(self, url: str, *, source: str | None = None) -> None:
        transport = httpx2.HTTPTransport(local_address=source, limits=httpx2.Limits(max_keepalive_connections=4))
        self.http = httpx2.Client(base_url=url, transport=transport, timeout=20, trust_env=False)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        self.http.cookies.clear()
        return self.http.request(method, path, **options)

    def session(self) -> str:
        """A new anonymous participant; their token."""
        answer = self.request("POST", "/api/v1/sessions", headers={"Accept": _JSON})
        assert answer.status_code == 201, describe(answer)
        return str(answer.json()["token"])

    def state(self, slug: str) -> dict[str, Any]:
        answer = self.request("GET", f"/api/v1/campaigns/{slug}")
        assert answer.status_code == 200, describe(answer)
        state: dict[str, Any] = answer.json()
        return state

    def phase(self, slug: str) -> str:
        """The phase on which eight new connections agree, so probably all workers; "" while they do not."""
        seen = set()
        for _ in range(8):
            with Wire(self.http.base_url.port or 80) as wire:
                reply = wire.send(build("GET", f"/api/v1/campaigns/{slug}"), method="GET")
            seen.add(str(json.loads(reply.body)["phase"]) if reply.status == 200 else "")
        return seen.pop() if len(seen) == 1 else ""

    def claim(
        self, slug: str, token: str | None, pool: Any = "central", *, key: str | None = None, **members: Any
    ) -> httpx2.Response:
        headers = bearer(token) if token else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.request("POST", f"/api/v1/campaigns/{slug}/claims", json={"pool": pool, **members}, headers=headers)

    def mine(self, slug: str, token: str) -> list[dict[str, Any]]:
        answer = self.request("GET", f"/api/v1/campaigns/{slug}/claims/mine", headers=bearer(token))
        assert answer.status_code == 200, describe(answer)
        claims: list[dict[str, Any]] = answer.json()["claims"]
        return claims

    def cancel(self, slug: str, token: str, claim_id: str) -> httpx2.Response:
        return self.request("DELETE", f"/api/v1/campaigns/{slug}/claims/{claim_id}", headers=bearer(token))


def describe(answer: httpx2.Response) -> str:
    request = answer.request
    return f"{request.method} {request.url} -> {answer.status_code}\n{dict(answer.headers)}\n{answer.text[:600]}"


def confirmed(answer: httpx2.Response, *, status: int = 201) -> dict[str, Any]:
    """The claim of a confirmation, with every documented member."""
    assert answer.status_code == status, f"expected {status}\n{describe(answer)}"
    body = answer.json()
    assert body.get("outcome") == "confirmed", describe(answer)
    claim: dict[str, Any] = body["claim"]
    missing = {"id", "code", "pool", "ordinal", "at"} - set(claim)
    assert not missing, f"claim without {missing}\n{describe(answer)}"
    return claim


def refused(answer: httpx2.Response, status: int, outcome: str | Iterable[str] | None) -> dict[str, Any]:
    """The body of a refusal: problem+json with the `outcome` of the contract (None: any non-empty one)."""
    assert answer.status_code == status, f"expected {status}\n{describe(answer)}"
    kind = answer.headers.get("content-type", "")
    assert kind.split(";")[0].strip() == PROBLEM, f"a refusal is {PROBLEM}, not {kind!r}\n{describe(answer)}"
    body: dict[str, Any] = answer.json()
    said = body.get("outcome")
    assert isinstance(said, str), f"no `outcome`\n{describe(answer)}"
    assert said, f"an empty `outcome`\n{describe(answer)}"
    if outcome is not None:
        wanted = {outcome} if isinstance(outcome, str) else set(outcome)
        assert said in wanted, f"expected outcome {sorted(wanted)}, got {said!r}\n{describe(answer)}"
    assert body.get("status", status) == status, f"`status` differs from the status line\n{describe(answer)}"
    if status in (429, 503):
        assert int(answer.headers.get("retry-after", "-1")) >= 0, f"no Retry-After\n{describe(answer)}"
    return body


@dataclass(frozen=True)
class Reply:
    """What came back on a raw connection. `status` 0: the server closed it, or said nothing, without a status line."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def outcome(self) -> str:
        try:
            return str(json.loads(self.body).get("outcome", ""))
        except (ValueError, AttributeError):
            return ""

    def __str__(self) -> str:
        return f"{self.status} {dict(self.headers)} {self.body[:300]!r}"


NOTHING = Reply(0, {}, b"")


def sane(reply: Reply, context: object) -> Reply:
    """No answer to any input is a server error; an honest 503 says `overloaded` and when to come again.

    `unknown` is for a commit in doubt: as the answer to bad input it would only hide a fault.
    """
    honest = reply.status == 503 and reply.outcome == "overloaded" and "retry-after" in reply.headers
    assert reply.status < 500 or honest, f"server error {reply} for {context!r:.600}"
    assert b"Traceback (most recent call last)" not in reply.body, f"stack trace shown for {context!r:.600}"
    return reply


def build(
    method: str, target: str | bytes, headers: Iterable[tuple[str, str | bytes]] = (), body: bytes = b""
) -> bytes:
    """A request line, headers and body as bytes; header values lose their line ends only, nothing else is checked."""
    where = target if isinstance(target, bytes) else target.encode("latin-1", "replace")
    lines = [method.encode() + b" " + where + b" HTTP/1.1", b"Host: localhost"]
    names = {"host"}
    for name, value in headers:
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        lines.append(name.encode() + b": " + raw.replace(b"\r", b" ").replace(b"\n", b" "))
        names.add(name.lower())
    if body and not names & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Wire:
    """A raw keep-alive connection that is opened again when the server closed it."""

    def __init__(self, port: int, *, timeout_s: float = 10) -> None:
        self._port, self._timeout_s = port, timeout_s
        self._socket: socket.socket | None = None

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, payload: bytes, *, method: str = "POST") -> Reply:
        """Send and read one answer. A connection that the server had closed while idle is opened once more."""
        fresh = self._socket is None
        reply = self._exchange(payload, method)
        return reply if reply.status or fresh else self._exchange(payload, method)

    def _exchange(self, payload: bytes, method: str) -> Reply:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=self._timeout_s)
        with contextlib.suppress(OSError):
            # A server that refuses early may close before it has read everything; its answer still counts.
            self._socket.sendall(payload)
        response = HTTPResponse(self._socket, method=method)
        try:
            response.begin()
            reply = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            closing = response.will_close
        except (HTTPException, OSError, ValueError):
            reply, closing = NOTHING, True
        finally:
            response.close()
        if closing:
            self.close()
        return reply


async def fire(port: int, payload: bytes, *, timeout_s: float = 3) -> Reply:
    """One request on a connection of its own; reads until the announced end, the server's close or the time-out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        with contextlib.suppress(OSError):
            writer.write(payload)
            await writer.drain()
        try:
            return await asyncio.wait_for(_read_reply(reader), timeout_s)
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError):
            return NOTHING
    finally:
        writer.close()


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ", 2)[1])
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = b""
    if "content-length" in headers:
        with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
            body = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), 1)
    return Reply(status, headers, body)
