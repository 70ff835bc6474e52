"""Sizes, depths, broken framing, floods and clients that stop half-way: nobody else notices."""

from __future__ import annotations

import asyncio
import functools
import socket

import pytest

from tests.acceptance.client import Wire, build, fire, sane
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import eventually
from tests.acceptance.target import CLAIMS, JSON, ROUTES, SLUG, Target

BODIES = [(CLAIMS, "application/json"), (f"/c/{SLUG}", "application/x-www-form-urlencoded")]
"""(path, media type) of both ways to claim"""

# Sizes, depths and broken framing


@pytest.mark.parametrize("size", [1_000_000, 10_000_000])
@pytest.mark.parametrize("route", ROUTES)
def test_large_bodies(target: Target, route: str, size: int) -> None:
    body = b'{"pool":"' + b"x" * size + b'"}'
    # Where no body is read, or nothing is served, there is nothing to be too large; 0 is a connection closed early.
    expected = {0, 413} if route == CLAIMS else {0, 201, 400, 404, 413, 415}
    with target.survives() as wire:
        for _ in range(3):
            reply = sane(wire.send(build("POST", route, [JSON, target.auth], body)), (route, size))
            assert reply.status in expected, str(reply)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"pool":', '{"pool":"central","fields":{"a":'])
@pytest.mark.parametrize("levels", [200, 5_000, 100_000])
def test_deep_json(target: Target, opening: str, levels: int) -> None:
    repeat = opening if opening.endswith(("[", '"a":')) and "pool" not in opening else "["
    document = (opening + repeat * levels).encode()
    with target.survives() as wire:
        reply = sane(wire.send(build("POST", CLAIMS, [JSON, target.auth], document)), (opening, levels))
        assert reply.status in (400, 413), str(reply)
        closed = b'{"pool":"central","fields":{"a":' + b"[" * levels + b"]" * levels + b"}}"
        reply = sane(wire.send(build("POST", CLAIMS, [JSON, target.auth], closed)), ("closed", levels))
        assert reply.status in (200, 201, 400, 413), str(reply)


NUMBERS = [
    "1e999",
    "-1e999",
    "1e-999",
    "9" * 5000,
    "-0",
    "0." + "1" * 5000,
    "18446744073709551616",
    "1E400",
    "-9223372036854775809",
]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n[:24])
@pytest.mark.parametrize("member", ["pool", "fields", "signals", "ticket", "x"])
def test_huge_numbers(target: Target, member: str, number: str) -> None:
    body = f'{{"pool":"central","{member}":{number}}}' if member != "pool" else f'{{"pool":{number}}}'
    with target.survives() as wire:
        for value in (body, body.replace(number, f'{{"a":[{number}]}}')):
            reply = sane(wire.send(build("POST", CLAIMS, [JSON, target.auth], value.encode())), value[:80])
            assert reply.status in ({400, 413} if member == "pool" else {200, 201, 400, 413}), str(reply)


FRAMES: dict[str, tuple[bytes, set[int]]] = {
    "chunk size is no number": (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", {0, 400}),
    "chunk size is negative": (b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", {0, 400}),
    "chunk size is huge": (b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nhello\r\n", {0, 400, 413}),
    "length and chunks": (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {0, 400}),
    "two lengths": (b"Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}", {0, 400}),
    "negative length": (b"Content-Length: -1\r\n\r\n{}", {0, 400}),
    "length is no number": (b"Content-Length: two\r\n\r\n{}", {0, 400}),
    "length is huge": (b"Content-Length: 99999999999999999999999\r\n\r\n{}", {0, 400, 413}),
    "length with plus": (b"Content-Length: +2\r\n\r\n{}", {0, 400}),
    "unknown coding": (b"Transfer-Encoding: cow\r\n\r\n{}", {0, 400, 501}),
    "chunked twice": (b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", {0, 400}),
    "header without colon": (b"nonsense\r\n\r\n", {0, 400}),
    "space before colon": (b"Content-Length : 2\r\n\r\n{}", {0, 400}),
    "NUL in a header": (b"X-A: a\x00b\r\n\r\n", {0, 400}),
    "folded header": (b"X-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", {0, 400, 401}),
    "compressed body": (b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", {400, 401, 415}),
    "expectation unknown": (b"Expect: a-miracle\r\nContent-Length: 2\r\n\r\n{}", {0, 400, 401, 415, 417}),
    "upgrade": (
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"), {0, 400, 401, 403, 404, 405, 415, 426},
    ),
    "h2c upgrade": (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        {0, 101, 400, 401, 415},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_broken_framing(target: Target, name: str) -> None:
    rest, allowed = FRAMES[name]
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n%b: %b\r\n" % tuple(x.encode() for x in (CLAIMS, *target.auth))
    head += b"" if b"Content-Type" in rest else b"Content-Type: application/json\r\n"
    with target.survives():
        reply = asyncio.run(fire(target.port, head + rest))
    assert reply.status in allowed, f"{name}: {reply}"


LINES = [
    b"GET\r\n\r\n",
    b"\r\n\r\n\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /livez\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    b"\x00" * 1000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500,
    b"GET http://other.example/livez HTTP/1.1\r\nHost: other.example\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /%00%ff%c0%af/..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /c/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /c/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE * HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:30]))
def test_broken_request_lines(target: Target, line: bytes) -> None:
    with target.survives():
        reply = sane(asyncio.run(fire(target.port, line, timeout_s=1.5)), line)
    assert b"root:" not in reply.body


def test_a_chunked_body_is_read_and_a_huge_one_is_not(target: Target) -> None:
    token = target.api.session()
    headers = [JSON, ("Authorization", f"Bearer {token}"), ("Transfer-Encoding", "chunked")]
    with target.survives() as wire:
        body = b'6\r\n{"pool\r\nc\r\n":"central"}\n\r\n0\r\n\r\n'
        assert wire.send(build("POST", CLAIMS, headers, body)).status == 201
        flood = (b"10000\r\n" + b" " * 65536 + b"\r\n") * 64
        assert wire.send(build("POST", CLAIMS, headers, flood)).status in (0, 413)


@pytest.mark.parametrize(("count", "size"), [(100, 8192), (1000, 20), (1, 500_000)])
def test_header_floods(target: Target, count: int, size: int) -> None:
    flood = [(f"X-Flood-{n}", "y" * size) for n in range(count)]
    with target.survives() as wire:
        for _ in range(5):
            for path in (f"/api/v1/campaigns/{SLUG}", "/livez"):
                reply = sane(wire.send(build("GET", path, flood), method="GET"), (count, size))
                assert reply.status in (0, 200, 400, 413, 431), str(reply)


def test_many_cookies_and_many_query_members(target: Target) -> None:
    cookies = "; ".join(f"c{n}=v{n}" for n in range(1500))
    query = "&".join(f"q{n}={n}" for n in range(1500))
    with target.survives() as wire:
        for payload in (
            build("GET", f"/c/{SLUG}", [("Cookie", cookies)]),
            build("GET", f"/c/{SLUG}?{query}"),
            build(
                "POST",
                CLAIMS,
                [JSON, ("Cookie", "hg_session=a; hg_session=b; hg_session")],
                b'{"pool":"central"}',
            ),
        ):
            sane(wire.send(payload, method="GET"), payload[:60])


def test_half_sent_requests_do_not_hold_up_others(target: Target) -> None:
    """Eleven hundred clients that stop in the middle, and are dropped, while ordinary ones are served.

    They are more than all requests that may be in progress at once, so none of them may keep such a place for long.
    """
    heads = [
        b"POST " + CLAIMS.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Le",
        build("POST", CLAIMS, [JSON, target.auth, ("Content-Length", "500")], b'{"pool":'),
        build("POST", CLAIMS, [JSON, target.auth, ("Transfer-Encoding", "chunked")], b"400\r\n{"),
    ]
    tokens = [target.api.session() for _ in range(40)]

    def served_within_reason(token: str) -> bool:
        return target.api.claim(SLUG, token).status_code in (200, 201)

    with target.survives():
        half = [socket.create_connection(("127.0.0.1", target.port), timeout=5) for _ in range(1100)]
        try:
            for n, connection in enumerate(half):
                connection.sendall(heads[0 if n % 11 == 0 else 1 + n % 2])
            for token in tokens[:20]:
                eventually("a claim beside half-sent ones", functools.partial(served_within_reason, token))
        finally:
            for connection in half:
                connection.close()
        for token in tokens[20:]:
            eventually("a claim after half-sent ones", functools.partial(served_within_reason, token))


@pytest.mark.parametrize("framing", ["Content-Length: 18", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(("path", "kind"), BODIES)
def test_a_body_that_does_not_come_is_given_up(target: Target, path: str, kind: str, framing: str) -> None:
    token = target.api.session()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n"
    )
    begun = "4\r\npool\r\n" if "chunked" in framing else "pool"
    with target.survives(), socket.create_connection(("127.0.0.1", target.port), timeout=30) as connection:
        connection.sendall(head.encode() + begun.encode())
        answer = b"".join(iter(functools.partial(connection.recv, 65_536), b""))
    assert answer.startswith(b"HTTP/1.1 408 "), "and then the connection is closed"
    assert target.api.mine(SLUG, token) == []


@pytest.mark.parametrize(("path", "kind"), BODIES)
def test_a_body_that_is_cut_off_is_told_so_where_somebody_listens_on(target: Target, path: str, kind: str) -> None:
    token = target.api.session()
    headers = [("Content-Type", kind), ("Authorization", f"Bearer {token}"), ("Content-Length", "99")]
    with target.survives(), socket.create_connection(("127.0.0.1", target.port), timeout=30) as connection:
        connection.sendall(build("POST", path, headers, b"pool=central"))
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(functools.partial(connection.recv, 65_536), b""))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer[:200]


@pytest.mark.parametrize("key", [b"\xe9", "é".encode(), b"\xff\xfe"])
def test_a_key_that_is_no_text_is_refused_not_ignored(target: Target, key: bytes) -> None:
    headers: list[tuple[str, str | bytes]] = [JSON, ("Authorization", f"Bearer {target.api.session()}")]
    with Wire(target.port) as wire:
        reply = wire.send(build("POST", CLAIMS, [*headers, ("Idempotency-Key", key)], b'{"pool":"central"}'))
        assert (reply.status, reply.outcome) == (400, "invalid")
        assert wire.send(build("POST", CLAIMS, headers, b'{"pool":"central"}')).status == 201, "it had taken something"


def test_clients_that_leave_before_the_answer_get_their_claim_or_none(target: Target) -> None:
    tokens = [target.api.session() for _ in range(100)]
    with target.survives():
        for token in tokens:
            headers = [JSON, ("Authorization", f"Bearer {token}")]
            with socket.create_connection(("127.0.0.1", target.port), timeout=5) as connection:
                connection.sendall(build("POST", CLAIMS, headers, b'{"pool":"central"}'))
        for token in tokens:
            claim = target.api.claim(SLUG, token)
            assert claim.status_code in (200, 201)
            assert [c["id"] for c in target.api.mine(SLUG, token)] == [claim.json()["claim"]["id"]]
    Ledger(target.server.data).check(SLUG)
