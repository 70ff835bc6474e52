"""Counts of all processes and the stock of all campaigns in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..ports.ledger import LedgerError
from ..ports.telemetry import GATE_BUCKETS, METRICS, SECONDS_BUCKETS, SIZE_BUCKETS
from ..services.campaigns import Campaigns, Located
from ..services.metrics_files import Snapshot, collect
from .tallies import Tallies

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS: dict[str, tuple[float, ...]] = {
    "headgate_gate_seconds": GATE_BUCKETS,
    "headgate_batch_size": SIZE_BUCKETS,
    "headgate_ledger_commit_seconds": SECONDS_BUCKETS,
    "headgate_ledger_wait_seconds": SECONDS_BUCKETS,
    "headgate_gc_pause_seconds": SECONDS_BUCKETS,
}
_GAUGES = ("headgate_concurrency_limit", "headgate_inflight", "headgate_queue_length", "headgate_queue_age_seconds")
_COUNTS = ("headgate_ledger_looks_total", "headgate_shared_looks_total", "headgate_uncounted_requests_total")


class HeadgateCollector(Collector):
    """Reads the processes' files and the ledger at every scrape; blocks."""

    def __init__(
        self,
        run_dir: Path,
        campaigns: Campaigns,
        tallies: Tallies,
        event_ages_s: Callable[[], Mapping[str, float]],
    ) -> None:
        self._run_dir = run_dir
        self._campaigns = campaigns
        self._tallies = tallies
        self._event_ages_s = event_ages_s

    def describe(self) -> Iterable[Metric]:
        """Nothing: without this, registering would already read files and the ledger."""
        return []

    def collect(self) -> Iterable[Metric]:
        snapshots = collect(self._run_dir)
        yield _requests(snapshots)
        yield _claims(snapshots)
        yield _request_seconds(snapshots)
        for name, bounds in _BUCKETS.items():
            yield _histogram(name, bounds, snapshots)
        for name in _GAUGES:
            value = sum(snapshot.gauges.get(name, 0.0) for snapshot in snapshots)
            yield GaugeMetricFamily(name, METRICS[name], value=value)
        yield _replica_readers(snapshots)
        for name in _COUNTS:
            count = sum(snapshot.counts.get(name, 0) for snapshot in snapshots)
            yield CounterMetricFamily(name, METRICS[name], value=count)
        yield from self._stock()
        yield self._event_ages()

    def _stock(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("headgate_stock", METRICS["headgate_stock"], labels=["campaign", "state"])
        # What the processes count is told also where no ledger answers: then it is wanted most.
        found: list[Located] = []
        away = set(self._campaigns.shards)
        with suppress(LedgerError):
            listing = self._campaigns.all()
            found, away = listing.found, set(listing.away)
        for located in found:
            slug = located.campaign.slug
            try:
                tally = self._tallies.of(slug).tally
            except LedgerError:
                away.add(located.shard)
                continue
            for state in ("available", "held", "confirmed", "redeemed"):
                family.add_metric([slug, state], getattr(tally, state))
        yield family
        yield GaugeMetricFamily("headgate_ledgers_away", METRICS["headgate_ledgers_away"], value=len(away))

    def _event_ages(self) -> Metric:
        name = "headgate_undelivered_event_age_seconds"
        family = GaugeMetricFamily(name, METRICS[name], labels=["destination"])
        with suppress(LedgerError):
            for destination, age_s in self._event_ages_s().items():
                family.add_metric([destination], age_s)
        return family


def exposition(collector: HeadgateCollector) -> bytes:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)


def _requests(snapshots: list[Snapshot]) -> Metric:
    name = "headgate_requests_total"
    family = CounterMetricFamily(name, METRICS[name], labels=["plane", "route", "outcome"])
    for snapshot in snapshots:
        for route, outcome, count in snapshot.requests:
            family.add_metric([snapshot.plane, route, outcome], count)
    return family


def _claims(snapshots: list[Snapshot]) -> Metric:
    name = "headgate_claims_total"
    sums: dict[tuple[str, str], int] = {}
    for snapshot in snapshots:
        for campaign, outcome, count in snapshot.claims:
            sums[campaign, outcome] = sums.get((campaign, outcome), 0) + count
    family = CounterMetricFamily(name, METRICS[name], labels=["campaign", "outcome"])
    for labels, count in sums.items():
        family.add_metric(labels, count)
    return family


def _replica_readers(snapshots: list[Snapshot]) -> Metric:
    name = "headgate_replica_readers"
    sums: dict[str, int] = {}
    for snapshot in snapshots:
        for number, readers in snapshot.replicas.items():
            sums[number] = sums.get(number, 0) + readers
    family = GaugeMetricFamily(name, METRICS[name], labels=["replica"])
    for number, readers in sums.items():
        family.add_metric([number], readers)
    return family


def _request_seconds(snapshots: list[Snapshot]) -> Metric:
    name = "headgate_request_seconds"
    family = HistogramMetricFamily(name, METRICS[name], labels=["plane"])
    for snapshot in snapshots:
        buckets, total = _observed(name, SECONDS_BUCKETS, [snapshot])
        family.add_metric([snapshot.plane], buckets, total)
    return family


def _histogram(name: str, bounds: tuple[float, ...], snapshots: list[Snapshot]) -> Metric:
    buckets, total = _observed(name, bounds, snapshots)
    return HistogramMetricFamily(name, METRICS[name], buckets=buckets, sum_value=total)


def _observed(name: str, bounds: tuple[float, ...], snapshots: list[Snapshot]) -> tuple[list[tuple[str, float]], float]:
    """(upper end of each bucket with the cumulated count, sum of the values)."""
    counts, total = [0] * (len(bounds) + 1), 0.0
    for snapshot in snapshots:
        observed, value = snapshot.histograms.get(name, ([], 0.0))
        # Counts of a program with other buckets cannot be shown in these.
        if len(observed) == len(counts):
            counts = [a + b for a, b in zip(counts, observed, strict=True)]
            total += value
    ends = [*(str(float(bound)) for bound in bounds), "+Inf"]
    return list(zip(ends, accumulate(counts), strict=True)), total
