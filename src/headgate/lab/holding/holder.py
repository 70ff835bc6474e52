"""One process of the crowd: `python -m headgate.lab.holding.holder HOST PORT COUNT SOURCE`.

It reads commands (`connect PATH`, `ask PATH`), answers each with a line of JSON (`Asked`), and ends with its input.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections import Counter, deque
from contextlib import closing
from ipaddress import ip_address

import httptools
import msgspec

IP_BIND_ADDRESS_NO_PORT = 24
"""Of Linux (ip(7)); Python names it from 3.12 on."""

CONNECTING_MAX = 256
"""Connections that are being made at a time: fewer than any queue of new ones has places."""

SOURCES = 8
"""Addresses of one process: each has some 28,000 ports, and finding a free one takes longer the fewer there are."""

PATIENCE_S = 120.0
"""For one command; whoever has heard nothing by then counts as an error."""

READ_BYTES = 65_536
POLL_S = 1.0


class Asked(msgspec.Struct):
    """What came of a command: how long each took that succeeded (ms), answers by phase, and what went wrong."""

    took_ms: list[int]
    phases: dict[str, int] = {}
    errors: dict[str, int] = {}


class _State(msgspec.Struct):
    phase: str


_decode = msgspec.json.Decoder(_State).decode


class _Answer:
    """One response on its way."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.complete = False
        self.body = b""

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class Holder:
    """Connections from SOURCES addresses of this machine, beginning with one."""

    def __init__(self, host: str, port: int, count: int, source: str) -> None:
        self._place = (host, port)
        self._count = count
        self._sources = [str(ip_address(source) + number) for number in range(SOURCES)]
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}

    def connect(self, path: str) -> Asked:
        """Some at a time; each asks as soon as it is connected, as a browser does."""
        request = _request(path)
        asked, errors = Asked([]), Counter[str]()
        waiting = deque(range(self._count))
        began: dict[int, tuple[float, _Answer]] = {}
        until_s = time.monotonic() + PATIENCE_S
        while (waiting or began) and time.monotonic() < until_s:
            while waiting and len(began) < CONNECTING_MAX:
                try:
                    number = self._begin(self._sources[waiting.popleft() % SOURCES])
                except OSError as error:
                    errors[f"connect: {error.strerror}"] += 1
                    continue
                began[number] = (time.monotonic(), _Answer())
            for number, events in self._poll.poll(POLL_S):
                if events & select.EPOLLOUT:
                    self._connected(number, request, began, errors)
                else:
                    self._heard(number, began, asked, errors)
        errors["connect: no answer in time"] += len(began) + len(waiting)
        return _told(asked, errors)

    def ask(self, path: str) -> Asked:
        """All at once."""
        request = _request(path)
        asked, errors = Asked([]), Counter[str]()
        waiting: dict[int, tuple[float, _Answer]] = {}
        for number in list(self._sockets):
            if self._send(number, request, errors):
                waiting[number] = (time.monotonic(), _Answer())
        until_s = time.monotonic() + PATIENCE_S
        while waiting and time.monotonic() < until_s:
            for number, _ in self._poll.poll(POLL_S):
                self._heard(number, waiting, asked, errors)
        errors["ask: no answer in time"] += len(waiting)
        return _told(asked, errors)

    def _begin(self, source: str) -> int:
        one = socket.socket()
        one.setblocking(False)
        # The port is chosen when the other end is known, so that ends may share one.
        one.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        one.bind((source, 0))
        one.connect_ex(self._place)
        self._sockets[one.fileno()] = one
        self._poll.register(one.fileno(), select.EPOLLOUT)
        return one.fileno()

    def _connected(
        self, number: int, request: bytes, began: dict[int, tuple[float, _Answer]], errors: Counter[str]
    ) -> None:
        failed = self._sockets[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            errors[f"connect: {os.strerror(failed)}"] += 1
            self._drop(number)
            del began[number]
        elif not self._send(number, request, errors):
            del began[number]

    def _send(self, number: int, request: bytes, errors: Counter[str]) -> bool:
        try:
            self._sockets[number].sendall(request)
        except OSError as error:
            errors[f"send: {error.strerror}"] += 1
            self._drop(number)
            return False
        self._poll.modify(number, select.EPOLLIN)
        return True

    def _heard(
        self, number: int, waiting: dict[int, tuple[float, _Answer]], asked: Asked, errors: Counter[str]
    ) -> None:
        if number not in waiting:
            errors["hung up while nothing was asked"] += 1
            self._drop(number)
            return
        began_s, answer = waiting[number]
        try:
            self._read(number, answer)
            if not answer.complete:
                return
            phase = _decode(answer.body).phase
            asked.phases[phase] = asked.phases.get(phase, 0) + 1
            asked.took_ms.append(round((time.monotonic() - began_s) * 1000))
            self._poll.modify(number, 0)
        except (OSError, httptools.HttpParserError, msgspec.MsgspecError) as error:
            errors[f"answer: {error}"[:80]] += 1
            self._drop(number)
        del waiting[number]

    def _read(self, number: int, answer: _Answer) -> None:
        """Raises OSError where the answer is none, or the other end has hung up."""
        data = self._sockets[number].recv(READ_BYTES)
        if not data:
            raise ConnectionError("hung up")
        answer.feed(data)
        if answer.complete and answer.status != 200:
            raise ConnectionError(f"status {answer.status}")

    def close(self) -> None:
        """Let go of all connections."""
        for number in list(self._sockets):
            self._drop(number)
        self._poll.close()

    def _drop(self, number: int) -> None:
        self._poll.unregister(number)
        self._sockets.pop(number).close()


def _request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _told(asked: Asked, errors: Counter[str]) -> Asked:
    return msgspec.structs.replace(asked, errors={what: count for what, count in errors.items() if count})


def main() -> None:
    host, port, count, source = sys.argv[1:]
    with closing(Holder(host, int(port), int(count), source)) as holder:
        for line in sys.stdin:
            command, _, path = line.strip().partition(" ")
            asked = holder.connect(path) if command == "connect" else holder.ask(path)
            print(msgspec.json.encode(asked).decode(), flush=True)


if __name__ == "__main__":
    main()
