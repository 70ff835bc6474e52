"""Between nginx and the node nothing is smuggled, and who sends too much or too slowly keeps nobody out."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.acceptance.client import Api, claims_path, confirmed
from tests.acceptance.product import Server, eventually, opened, served
from tests.edges import Edge, edge

SLUG = "masks"
CLAIMS = claims_path(SLUG)
HEADER_S = 10.0
"""How long nginx waits for headers."""
_marks = itertools.count()


class House(NamedTuple):
    node: Server
    front: Edge
    api: Api


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    data = tmp_path_factory.mktemp("behind") / "data"
    with served(data, settings={"HEADGATE_TRUSTED_PROXIES": "127.0.0.0/8"}) as node, Api(node.url) as direct:
        opened(node, direct, SLUG, (("central", 10_000),))
        # One process, so that its log has one order.
        one = {"HEADGATE_EDGE__WORKERS": "1"}
        with (
            edge(data.parent / "edge", data / "public", f"127.0.0.1:{node.port}", one) as front,
            Api(front.url) as api,
        ):
            yield House(node, front, api)


def port(front: Edge) -> int:
    return int(front.url.rpartition(":")[2])


def sent(front: Edge, payload: bytes) -> bytes:
    """What comes back until the edge hangs up, or says nothing more."""
    with socket.create_connection(("127.0.0.1", port(front)), timeout=2) as connection:
        connection.sendall(payload)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        try:
            while part := connection.recv(65_536):
                heard += part
        except (TimeoutError, ConnectionResetError):
            pass
        return heard


def smuggled(token: str) -> bytes:
    """A request that is meant to look like a body."""
    body = b'{"pool":"central"}'
    return (
        f"POST {CLAIMS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def framings(hidden: bytes) -> dict[str, bytes]:
    """Requests on whose length two programs could disagree; by one reading `hidden` is a body, by another a request."""
    post = b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\n"
    length = b"Content-Length: %d\r\n" % (len(hidden) + 5)
    return {
        "length and chunks": post + length + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        "chunks and length": post + b"Transfer-Encoding: chunked\r\n" + length + b"\r\n0\r\n\r\n" + hidden,
        "chunks with a tab": post + length + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + hidden,
        "space before the colon": post + length + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden,
        "another coding first": post + length + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + hidden,
        "coding in other letters": post + length + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
        "folded coding": post + length + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + hidden,
        "two lengths": post + b"Content-Length: 0\r\n" + length + b"\r\n" + hidden,
        "the same length in another form": post + b"Content-Length: +0\r\n" + length + b"\r\n" + hidden,
        "length with a sign": post + b"Content-Length: -0\r\n\r\n" + hidden,
        "length in hexadecimal": post + b"Content-Length: 0x0\r\n\r\n" + hidden,
        "a line that ends too early": post + length + b"X: y\n\n" + b"\r\n0\r\n\r\n" + hidden,
        "a lone carriage return": post + b"X: y\rTransfer-Encoding: chunked\r\n" + length + b"\r\n0\r\n\r\n" + hidden,
        "a chunk with an odd size": post + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + hidden,
        "a chunk with a line in its extension": post + b"Transfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n" + hidden,
        "a trailer": post + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
        "a body of GET": b"GET /api/v1/campaigns/masks HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n12345" + hidden,
        "a header with an underscore": post + length + b"Transfer_Encoding: chunked\r\n\r\n12345" + hidden,
        "an old version": post.replace(b"1.1", b"1.0") + length + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + hidden,
    }  # fmt: skip


NAMES = list(framings(b""))

AS_A_BODY = {"a body of GET", "a header with an underscore"}
"""Here all readings agree that it is a body."""


@pytest.mark.parametrize("name", NAMES)
def test_no_request_hides_in_another(house: House, name: str) -> None:
    """What is a request to nginx is logged by it, and there is no claim that it has not seen."""
    token = house.api.session()
    before = claims_logged(house)
    sent(house.front, framings(smuggled(token))[name])
    held = house.api.mine(SLUG, token)
    seen = claims_logged(house) - before
    assert len(held) <= seen, "the node has decided a claim that nginx took for a body"
    if name in AS_A_BODY:
        assert held == []


def claims_logged(house: House) -> int:
    """How many claims nginx has taken for requests.

    It writes its log now and then, in the order of requests: what stands before a mark that is asked for now is all.
    """
    mark = f"/mark-{next(_marks)}"
    assert house.api.request("GET", mark).status_code == 404

    def whole() -> list[str]:
        log = house.front.log()
        return log.splitlines() if f'"path":"{mark}"' in log else []

    lines = eventually("the mark is in the log", whole)
    return sum(f'"path":"{CLAIMS}"' in line for line in lines)


@pytest.mark.parametrize(
    "payload",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n",
        b"\x00" * 100_000,
        b"\r\n" * 100_000,
    ],
    ids=["100,000 header lines", "a long header", "a long path", "an endless body", "zeros", "empty lines"],
)
def test_too_much_is_cut_off_and_others_go_on(house: House, payload: bytes) -> None:
    token = house.api.session()
    try:
        heard = sent(house.front, payload)
    except (BrokenPipeError, ConnectionResetError):
        heard = b""
    if heard.startswith(b"HTTP/1.1 400"):
        assert b'"outcome":"invalid"' in heard
    assert heard[:12] in {b"", b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 200", b"HTTP/1.1 404"}
    confirmed(house.api.claim(SLUG, token))


def test_slow_clients_are_let_go_and_nobody_waits_for_them(house: House) -> None:
    slow = [socket.create_connection(("127.0.0.1", port(house.front))) for _ in range(1_000)]
    try:
        for number, one in enumerate(slow):
            begun = b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\n"
            one.sendall(begun if number % 2 else begun + b"Content-Length: 20\r\n\r\n{")
        for _ in range(50):
            confirmed(house.api.claim(SLUG, house.api.session()))
        deadline = time.monotonic() + 3 * HEADER_S
        for one in slow:
            one.settimeout(max(0.1, deadline - time.monotonic()))
            # A time-out here is a client that was never let go.
            with contextlib.suppress(ConnectionResetError):
                while one.recv(4_096):
                    pass
    finally:
        for one in slow:
            one.close()
