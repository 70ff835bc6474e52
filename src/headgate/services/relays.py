"""The keeper's part in telling others: relays work while it holds the lease, and what is old is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from ..ports.clock import Clock
from ..ports.ledger import LedgerBroken
from ..ports.outbox import Outbox
from .relaying import RETRY_MAX_S, Relay, Tenure

KEPT_MS = 7 * 86_400_000
"""A week: whoever is away over a holiday and the weekend beside it has lost nothing."""

PRUNED_MAX = 1_000
"""Rows that are forgotten in one turn, in some milliseconds; a rush writes fewer in that time."""

STOP_S = 6.0
"""How long the end waits for deliveries that are under way; a webhook takes 5 s at most."""

_log = structlog.get_logger("headgate.events")


def ages_s(outbox: Outbox, names: Sequence[str], clock: Clock) -> dict[str, float]:
    """For each destination how long the oldest event that it has not got has been waiting (s); 0 for none."""
    now_ms = clock.now_ms()
    return {name: max(0, now_ms - (outbox.waiting_since(name) or now_ms)) / 1000 for name in names}


class Relays:
    """Each relay has a thread of its own, so that a destination that does not answer keeps only itself waiting."""

    def __init__(self, outbox: Outbox, relays: Sequence[Relay], tenure: Tenure, clock: Clock) -> None:
        """`outbox` is the keeper's own; those of the relays belong to their threads."""
        self._tenure = tenure
        self._outbox = outbox
        self._clock = clock
        self._stopping = threading.Event()
        self._broken: LedgerBroken | None = None
        self._losing: frozenset[str] = frozenset()
        self._names = frozenset(relay.name for relay in relays)
        self._threads = [
            threading.Thread(target=self._work, args=(relay,), name=f"relay {relay.name}", daemon=True)
            for relay in relays
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what is being delivered, within STOP_S; what is cut off is delivered again by the next keeper."""
        self._stopping.set()
        deadline = self._tenure.clock_s() + STOP_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - self._tenure.clock_s()))

    def now_s(self) -> float:
        """By the clock of `hold`."""
        return self._tenure.clock_s()

    def hold(self, until_s: float) -> None:
        """The lease is ours, for certain until then."""
        self._tenure.extend(until_s)

    def let_go(self) -> None:
        """Another process has the lease."""
        self._tenure.end()

    def turn(self) -> None:
        """Forget what is old.  Raises LedgerError; LedgerBroken also where a relay met it."""
        if self._broken is not None:
            raise self._broken
        behind = self._outbox.prune(self._clock.now_ms() - KEPT_MS, PRUNED_MAX)
        if behind is None:
            return
        losing = self._names.intersection(behind)
        for name in sorted(losing - self._losing):
            _log.error(
                "events_lost",
                destination=name,
                error=f"it has not been reached for {KEPT_MS // 86_400_000} days, and what it did not get is forgotten",
            )
        self._losing = losing

    def _work(self, relay: Relay) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            try:
                pause_s = relay.step()
            except LedgerBroken as error:
                # Nothing is written any more; the keeper's turn ends this process.
                self._broken = error
                return
            except Exception:  # noqa: BLE001 -- a mistake of ours must not end what is tried for ever
                _log.exception("relay_failed", destination=relay.name)
                pause_s = RETRY_MAX_S
        relay.stop()
