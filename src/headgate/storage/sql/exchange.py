"""Statements to PostgreSQL that go out together, and answers that come back together.

psycopg's pipeline writes every statement to the socket by itself, and both sides are woken for each; for the nine of a
batch that took half of the time of a ledger process.  Here they lie in libpq's buffer until the last one is there
(https://www.postgresql.org/docs/current/libpq-pipeline-mode.html).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

from .bounded import BoundedConnection
from .slowness import SLOW_S, SLOWNESS

_FAILED = frozenset({ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE, ExecStatus.PIPELINE_ABORTED})


class Said(NamedTuple):
    """A statement with $1, $2 … where it is given values: texts as the server reads them, or its binary form."""

    statement: str
    given: Sequence[str | bytes] = ()


def exchange(connection: BoundedConnection, said: Sequence[Said], *, commit: bool = False) -> list[PGresult]:
    """The answer to each, also where it is that it failed, or came behind one that did; see `checked`.

    In the transaction that is open; where there is none, one is begun, but on a connection that commits by itself.
    With `commit` it is committed unless one of them fails, and the last answer is the commit's.  Raises
    psycopg.OperationalError where the server does not answer, or warns of the commit.
    """
    began_s = time.monotonic()
    connection.forget_warnings()
    pgconn = connection.pgconn
    sent: list[str | None] = []
    """For each answer that will come the statement that it prepares, or None."""
    wanted: list[int] = []
    pgconn.enter_pipeline_mode()
    try:
        if not connection.autocommit and pgconn.transaction_status == TransactionStatus.IDLE:
            pgconn.send_query_params(_begin(connection), None)
            sent.append(None)
        for statement, given in said:
            name = connection.prepared.get(statement)
            if name is None:
                name = b"headgate_%d" % next(connection.numbers)
                pgconn.send_prepare(name, statement.encode())
                sent.append(statement)
                connection.prepared[statement] = name
            pgconn.send_query_prepared(
                name,
                [value.encode() if isinstance(value, str) else value for value in given],
                [Format.TEXT if isinstance(value, str) else Format.BINARY for value in given],
            )
            wanted.append(len(sent))
            sent.append(None)
        if commit:
            pgconn.send_query_params(b"COMMIT", None)
            wanted.append(len(sent))
            sent.append(None)
        pgconn.pipeline_sync()
        answers = connection.wait(_answers(pgconn))
    except BaseException:
        # In the middle of an exchange it is of no use to anybody.
        connection.close()
        raise
    pgconn.exit_pipeline_mode()
    seconds = time.monotonic() - began_s
    if seconds >= SLOW_S:
        SLOWNESS.tell(seconds, _shown(connection), "; ".join(statement for statement, _ in said))
    if commit:
        connection.heed_warnings()
    for index, (prepared, answer) in enumerate(zip(sent, answers, strict=True)):
        if prepared is not None and answer.status in _FAILED:
            del connection.prepared[prepared]
            # Why it was not prepared says more than that it was not there.
            answers[index + 1] = answer
    return [answers[index] for index in wanted]


def checked(answer: PGresult) -> PGresult:
    """Raises the psycopg.Error that it is."""
    if answer.status in _FAILED:
        raise errors.error_from_result(answer)
    return answer


def _shown(connection: BoundedConnection) -> str:
    info = connection.info
    return f"postgresql://{info.user}@{info.host}:{info.port}/{info.dbname}"


def _begin(connection: BoundedConnection) -> bytes:
    level = connection.isolation_level
    return b"BEGIN" if level is None else f"BEGIN ISOLATION LEVEL {level.name.replace('_', ' ')}".encode()


def _answers(pgconn: PGconn) -> PQGen[list[PGresult]]:
    while pgconn.flush():
        ready = yield Wait.RW
        if ready & Ready.R:
            pgconn.consume_input()
    found: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        answer = pgconn.get_result()
        if answer is None:
            # Between the answers to two statements.
            continue
        if answer.status == ExecStatus.PIPELINE_SYNC:
            return found
        found.append(answer)
