"""A crowd that is held at a real edge: everybody is answered, and whoever is not is counted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from headgate.lab.holding.holder import Asked, Holder
from headgate.lab.servers.process import free_port
from tests.acceptance.product import run_cli
from tests.edges import program

OPEN = b'{"phase":"open"}'


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


@contextmanager
def saying(*answers: bytes) -> Iterator[int]:
    """The port of a server that says these to a connection, one for each request, and then hangs up."""

    def serve(connection: socket.socket) -> None:
        with connection:
            for one in answers:
                if not connection.recv(65_536):
                    return
                connection.sendall(one)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def asked(port: int, count: int = 20) -> tuple[Asked, Asked]:
    with closing(Holder("127.0.0.1", port, count, "127.0.3.0")) as holder:
        return holder.connect("/before"), holder.ask("/state")


def test_a_crowd_is_held_and_everybody_is_answered_at_the_opening() -> None:
    program()
    told = run_cli("lab", "crowd", "--connections", "600", "--json").json()
    assert told["ok"] is True
    assert sum(told["answers"].values()) == told["connections"] == 600
    assert set(told["answers"]) <= {"scheduled", "open"}
    assert told["errors"] == {}
    assert told["nginx_mb"] > 0


def test_who_is_answered_is_counted_by_what_they_are_told() -> None:
    with saying(answer(b'{"phase":"scheduled"}'), answer(OPEN)) as port:
        first, opening = asked(port)
    assert (first.phases, opening.phases) == ({"scheduled": 20}, {"open": 20})
    assert (first.errors, opening.errors) == ({}, {})
    assert len(opening.took_ms) == 20


@pytest.mark.parametrize(
    ("second", "error"),
    [
        ((), "hung up"),
        ((answer(OPEN, b"503 Busy"),), "status 503"),
        ((answer(b"[]"),), "Expected `object`"),
        ((b"nonsense",), "HTTP"),
        ((answer(OPEN)[:-3],), "hung up"),
    ],
    ids=["hangs up", "refuses", "says something else", "speaks something else", "stops in the middle"],
)
def test_who_is_not_answered_is_an_error(second: tuple[bytes, ...], error: str) -> None:
    with saying(answer(OPEN), *second) as port:
        _, opening = asked(port)
    assert opening.phases == {}
    assert sum(opening.errors.values()) == 20
    assert any(error in what for what in opening.errors), opening.errors


def test_a_server_that_is_not_there_is_an_error_for_each() -> None:
    first, opening = asked(free_port())
    assert first.errors == {"connect: Connection refused": 20}
    assert opening == Asked([])


@pytest.mark.parametrize("count", ["0", "-1", "many", "1.5", "2000000"])
def test_a_crowd_of_no_size_is_refused(count: str) -> None:
    run_cli("lab", "crowd", "--connections", count).failed(count, codes=(2,))
