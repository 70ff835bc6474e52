"""What is counted, and the names under which it is published.

Failure policy: telemetry that fails is dropped and counted; it never fails a request.
"""

from __future__ import annotations

from typing import Protocol

METRICS: dict[str, str] = {
    "headgate_requests_total": "Requests by plane, route and outcome.",
    "headgate_request_seconds": "Time from the first byte handled to the answer (seconds).",
    "headgate_claims_total": "Decisions about claims by campaign and outcome.",
    "headgate_ledgers_away": "Ledgers that did not answer, whose campaigns have no stock here.",
    "headgate_stock": "Units of a campaign by state (available, held, confirmed, redeemed).",
    "headgate_batch_size": "Claims that went to the ledger together.",
    "headgate_gate_seconds": "Time of one decision of the gate, sampled (seconds).",
    "headgate_ledger_commit_seconds": "Time of one batch from dispatch to its committed answer (seconds).",
    "headgate_ledger_wait_seconds": "How long the first claim of a batch waited until the ledger was asked (seconds).",
    "headgate_gc_pause_seconds": "Pauses of workers for their garbage collector (seconds).",
    "headgate_concurrency_limit": "Claims that may be in progress at once, over all workers.",
    "headgate_inflight": "Claims in progress.",
    "headgate_replica_readers": "Processes of this node that read from a replica; 0: it is left out.",
    "headgate_undelivered_event_age_seconds": "How long the oldest event has waited for a destination (seconds).",
    "headgate_queue_length": "Requests that wait for a consumer, over all queued campaigns.",
    "headgate_queue_age_seconds": "How long the first of them has waited (seconds).",
    "headgate_ledger_looks_total": "Looks for changes that asked the ledger, where nodes share them.",
    "headgate_shared_looks_total": "Looks for changes that another worker had made.",
    "headgate_uncounted_requests_total": "Requests let through because the shared limits could not be counted.",
}

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
GATE_BUCKETS = (0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_1, 0.001, 0.01, 0.1)
SIZE_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 512)


class Telemetry(Protocol):
    def request(self, route: str, outcome: str, seconds: float) -> None: ...

    def claim(self, campaign: str, outcome: str, seconds: float) -> None:
        """A decision about a claim, and with it the request on the route `claims` that asked for it."""

    def decided(self, campaign: str, outcome: str) -> None:
        """A decision about a claim that was asked for earlier, by another request."""

    def gate(self, seconds: float) -> None: ...

    def batch(self, size: int, seconds: float) -> None: ...

    def waited(self, seconds: float) -> None:
        """Until a batch could go to the ledger."""

    def paused(self, seconds: float) -> None:
        """For the garbage collector."""

    def uncounted(self, requests: int) -> None:
        """Requests that went on because limits could not be counted."""
