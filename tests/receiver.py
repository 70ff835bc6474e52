"""An HTTP server on loopback that takes webhooks and does to each request what a test says.

Nothing here imports the package under test.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

PATIENCE_S = 30.0


class Received(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = json.loads(self.body)["events"]
        return events


Act = Callable[[socket.socket], bool]
"""What is done about one request; True where the connection is good for another one."""


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Act:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in (headers or {}).items())]

    def act(connection: socket.socket) -> bool:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return True

    return act


def say(raw: bytes) -> Act:
    """These bytes, then the end of the connection."""

    def act(connection: socket.socket) -> bool:
        connection.sendall(raw)
        return False

    return act


def hang(until: threading.Event) -> Act:
    """No answer, until the test lets go; then the end of the connection."""

    def act(connection: socket.socket) -> bool:
        until.wait(PATIENCE_S)
        return False

    return act


def drip(until: threading.Event, first: bytes = b"", each_s: float = 0.02) -> Act:
    """`first`, then a byte now and then."""

    def act(connection: socket.socket) -> bool:
        connection.sendall(first)
        while not until.wait(each_s):
            connection.sendall(b"x")
        return False

    return act


class Receiver:
    """`acts` are used up request by request; whatever comes after them is answered 200."""

    def __init__(self, *acts: Act, tls: ssl.SSLContext | None = None) -> None:
        self.acts = list(acts)
        self.requests: list[Received] = []
        self.connections = 0
        self.answered = 0
        self._tls = tls
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/hooks?token=sekret"
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """As a receiver that is stopped: nobody can connect, and connections break."""
        # Closing alone does not wake the thread that waits in `accept`.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            for connection in self._open:
                connection.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Everything that arrived, in that order."""
        with self._changed:
            return [event for received in self.requests for event in received.events]

    def wait_for(self, what: str, true: Callable[[Receiver], bool], within_s: float = PATIENCE_S) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: true(self), within_s), (
                f"not within {within_s:g} s: {what} ({len(self.requests)} requests)"
            )

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self._tls.wrap_socket(plain, server_side=True) if self._tls else plain as connection:
                with self._changed:
                    self.connections += 1
                    self._open.add(connection)
                while self._one(connection):
                    pass
        except OSError:
            return

    def _one(self, connection: socket.socket) -> bool:
        reader = connection.makefile("rb")
        request_line = reader.readline().decode()
        if not request_line:
            return False
        method, path, _ = request_line.split(" ")
        headers = {}
        while (line := reader.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", "0")))
        with self._changed:
            self.requests.append(Received(method, path, headers, body))
            act = self.acts.pop(0) if self.acts else answer(200)
            self._changed.notify_all()
        again = act(connection)
        with self._changed:
            self.answered += 1
            self._changed.notify_all()
        return again
