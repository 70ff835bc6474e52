"""The process that writes claims for one worker.

The transaction's Python would otherwise fight the event loop for the interpreter lock: every statement
gives the lock away and then waits its turn to have it back.  In a process of its own it runs beside the
loop, and a batch costs one message in each direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from ...domain.claim import ClaimRequest
from ...ports.ledger import Cancelled, DecidingLedger, LedgerBroken, Settled
from ...ports.strangers import Strangers, Turned, TurnsAway
from .wire import (
    LENGTH,
    Call,
    CancelCall,
    CancelReply,
    ConfirmCall,
    ConfirmReply,
    Reply,
    StrangersCall,
    StrangersReply,
    batch_result,
    cancel_reply,
    cancelled,
    confirm_reply,
    decode_call,
    decode_reply,
    error_reply,
    frame,
    raised,
)

RECEIVE_BYTES = 262_144
BUFFER_BYTES = 1_048_576
"""What the socket is asked to hold, so that a whole batch (some 30 kB) goes in one call; it may get less."""

STOP_S = 5.0


class ProcessWriter:
    """The worker's end; see `headgate.ports.ledger.LedgerWriter`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_lost: Callable[[], None],
    ) -> None:
        """`command` starts the ledger process; the number of its socket is added to it.

        `on_lost` is called when the process has ended by itself, whether or not a call was under way.
        """
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 -- our own program
                [*command, str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        ours.setblocking(False)
        self._loop = loop
        self._on_lost = on_lost
        self._socket = ours
        self._waiting: deque[Callable[[Any], None]] = deque()
        self._received = bytearray()
        # What the socket did not take yet: at most a message for each permit.
        self._unsent = bytearray()
        self._closed = False
        loop.add_reader(ours.fileno(), self._readable)

    def confirm(self, batch: Sequence[ClaimRequest], fresh: Sequence[bool], done: Settled) -> None:
        self._send(frame(ConfirmCall(list(batch), list(fresh))), done)

    def cancel(self, campaign_id: int, person: bytes, claim_id: str, done: Cancelled) -> None:
        self._send(frame(CancelCall(campaign_id, person, claim_id)), done)

    def turn_away(self, strangers: Strangers, done: Callable[[Turned | Exception], None]) -> None:
        """See `headgate.ports.strangers.StrangerWriter`; only for a process that has a doorkeeper."""
        self._send(frame(StrangersCall(strangers)), done)

    def close(self) -> None:
        """Let the process finish what it has, then end it; nobody waits for its answers any more."""
        if not self._closed:
            with contextlib.suppress(OSError):
                self._socket.settimeout(STOP_S)
                self._socket.shutdown(socket.SHUT_WR)
                while self._socket.recv(RECEIVE_BYTES):
                    pass
            self._close_socket()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: bytes, done: Callable[[Any], None]) -> None:
        if self._closed:
            # `on_lost` has been called: this process is about to end.
            self._loop.call_soon(done, LedgerBroken(f"the ledger process {self._process.pid} has ended"))
            return
        self._waiting.append(done)
        if self._unsent:
            self._unsent += message
            return
        sent = self._sent(message)
        if sent is not None and sent < len(message):
            self._unsent += message[sent:]
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        sent = self._sent(self._unsent)
        if sent is not None:
            del self._unsent[:sent]
            if not self._unsent:
                self._loop.remove_writer(self._socket.fileno())

    def _sent(self, content: bytes | bytearray) -> int | None:
        """How many bytes the socket took; None where it is lost."""
        try:
            return self._socket.send(content)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lost(f"cannot be written to ({error})")
            return None

    def _readable(self) -> None:
        try:
            part = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(f"cannot be read from ({error})")
            return
        if not part:
            self._lost("ended")
            return
        received = self._received
        received += part
        while len(received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(received)[0]
            if len(received) < end:
                return
            reply = decode_reply(received[LENGTH.size : end])
            del received[:end]
            self._waiting.popleft()(_result(reply))

    def _lost(self, what: str) -> None:
        """Whatever was under way may have been committed or not."""
        self._close_socket()
        error = LedgerBroken(f"the ledger process {self._process.pid} {what}; its last batch is in doubt")
        while self._waiting:
            self._loop.call_soon(self._waiting.popleft(), error)
        self._loop.call_soon(self._on_lost)

    def _close_socket(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()


def _result(reply: Reply) -> Any:
    if isinstance(reply, ConfirmReply):
        return batch_result(reply)
    if isinstance(reply, CancelReply):
        return cancelled(reply)
    if isinstance(reply, StrangersReply):
        return Turned(reply.said, reply.uncounted)
    return raised(reply)


def serve(connection: socket.socket, ledger: DecidingLedger, doorkeeper: TurnsAway | None = None) -> None:
    """Answer calls in order until the worker closes its end, or storage has failed.

    Where there is no doorkeeper nobody sends strangers.
    """
    with connection.makefile("rb") as calls:
        while header := _next(calls):
            call = decode_call(calls.read(LENGTH.unpack(header)[0]))
            try:
                reply = _answer(ledger, doorkeeper, call)
            except LedgerBroken as error:
                # Nothing is synced after a sync that failed, not even the batch that lies here already.
                connection.sendall(frame(error_reply(error)))
                return
            except Exception as error:  # noqa: BLE001 -- whatever happened, the worker has to know
                reply = error_reply(error)
            connection.sendall(frame(reply))


def _next(calls: BinaryIO) -> bytes:
    """The header of the next call; empty where the worker has closed its end, or was killed."""
    try:
        return calls.read(LENGTH.size)
    except ConnectionError:
        return b""


def _answer(ledger: DecidingLedger, doorkeeper: TurnsAway | None, call: Call) -> Reply:
    if isinstance(call, ConfirmCall):
        return confirm_reply(ledger.confirm(call.batch, call.fresh))
    if isinstance(call, StrangersCall):
        assert doorkeeper is not None, "strangers come where there is a doorkeeper"
        return StrangersReply(*doorkeeper.turn_away(call.strangers))
    return cancel_reply(*ledger.cancel(call.campaign_id, call.person, call.claim_id))
