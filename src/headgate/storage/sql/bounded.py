"""A connection to PostgreSQL that waits for no answer longer than a bound, and doubts a commit that says so.

The server's own time-outs are of no use where it is frozen, or cut off by a network that drops packets; and they
do not hold while a commit waits for a synchronous standby.
"""

from __future__ import annotations

import itertools
import select
from typing import Any, Self

import psycopg
from psycopg import errors

ANSWER_S = 12.0
"""More than the statement and lock time-outs of the server, so that these speak first where it lives."""


class BoundedConnection(psycopg.Connection[Any]):
    """What was not answered in ANSWER_S ends the connection, so that nobody reads its answer as another's."""

    answer_s = ANSWER_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._warned: list[str] = []
        self.prepared: dict[str, bytes] = {}
        """The server's names of statements that were prepared here."""
        self.numbers = itertools.count(1)
        """Of such names."""
        self.add_notice_handler(self._notice)

    @classmethod
    def connect(cls, *arguments: Any, **options: Any) -> Self:
        # After a rollback psycopg would take from the server what it has prepared by itself, and ours with it.
        return super().connect(*arguments, prepare_threshold=None, **options)

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """As psycopg's, with a bound where the caller set none; raises OperationalError."""
        try:
            return super().wait(gen, interval, self.answer_s if timeout is None else timeout)
        except errors._WaitTimeout as error:  # noqa: SLF001 -- psycopg has no other name for it
            if timeout is not None:
                raise
            self.close()
            raise psycopg.OperationalError(f"no answer for {self.answer_s:g} s") from error

    def is_over(self) -> bool:
        """Whether the server has closed it while nobody used it."""
        if self.closed:
            return True
        # Not select(), which takes no number above 1,023, and a worker has more connections than that.
        looking = select.poll()
        looking.register(self.fileno(), select.POLLIN)
        # Nobody has asked for anything, so what lies there to be read is the end.
        return bool(looking.poll(0))

    def commit(self) -> None:
        """Raises OperationalError where the server warns of this commit.

        A wait for the synchronous standby that somebody cancelled ends with a warning and no error
        (https://www.postgresql.org/docs/current/warm-standby.html): the standby may not have the commit, and
        would not have it after a failover.
        """
        self.forget_warnings()
        super().commit()
        self.heed_warnings()

    def forget_warnings(self) -> None:
        """Of what came before; a commit follows."""
        self._warned.clear()

    def heed_warnings(self) -> None:
        """Raises OperationalError as `commit` does."""
        if self._warned:
            self.close()
            raise psycopg.OperationalError(f"committed with a warning: {self._warned[0]}")

    def _notice(self, diagnostic: errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warned.append(str(diagnostic.message_primary))
