from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from headgate.console import app as console_app
from headgate.console.tallies import COST_SHARE_MAX, FRESH_S, Tallies
from headgate.domain.event import BEGINNING
from headgate.ports.ledger import LedgerUnavailable, Tally, UnknownCampaign
from headgate.ports.telemetry import METRICS, SECONDS_BUCKETS, SIZE_BUCKETS
from headgate.services.metrics_files import METRICS_DIR, publish
from headgate.storage.memory.telemetry import Counters
from headgate.storage.sql.engine import open_engine
from headgate.storage.sql.outbox import SqlOutbox
from tests.console.conftest import Console, Ledger, console_on

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(console: Console) -> Samples:
    """Every sample by its name and labels; AssertionError where one is given twice."""
    answer = console.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


def count(run_dir: Path, counters: Counters, name: str = "participant-1") -> None:
    publish(run_dir, name, counters.snapshot())


def test_metrics_need_no_session_and_say_what_they_are(console: Console) -> None:
    text = console.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {f"{name}_total" if family.type == "counter" else name for name, family in families.items()} == set(METRICS)
    for name, documentation in METRICS.items():
        assert families[name.removesuffix("_total")].documentation == documentation


def test_counts_carry_the_labels_of_the_contract(console: Console, run_dir: Path) -> None:
    counters = Counters("participant")
    for outcome in ("confirmed", "confirmed", "sold_out"):
        counters.claim("masks", outcome, 0.003)
    counters.gauge("headgate_inflight", 3)
    counters.gauge("headgate_concurrency_limit", 350)
    count(run_dir, counters)
    samples = scrape(console)
    assert samples[key("headgate_requests_total", plane="participant", route="claims", outcome="confirmed")] == 2
    assert samples[key("headgate_requests_total", plane="participant", route="claims", outcome="sold_out")] == 1
    assert samples[key("headgate_claims_total", campaign="masks", outcome="confirmed")] == 2
    assert samples[key("headgate_inflight")] == 3
    assert samples[key("headgate_concurrency_limit")] == 350


def test_what_a_consumer_decided_is_a_claim_and_no_request(console: Console, run_dir: Path) -> None:
    node, consumer = Counters("participant"), Counters("consumer")
    for _ in range(3):
        node.claim("lamps", "pending", 0.001)
    for outcome in ("confirmed", "confirmed", "sold_out"):
        consumer.decided("lamps", outcome)
    consumer.gauge("headgate_queue_length", 7)
    consumer.gauge("headgate_queue_age_seconds", 1.5)
    count(run_dir, node)
    count(run_dir, consumer, "consumer-1")
    samples = scrape(console)
    decided = {outcome: samples[key("headgate_claims_total", campaign="lamps", outcome=outcome)]
               for outcome in ("pending", "confirmed", "sold_out")}  # fmt: skip
    assert decided == {"pending": 3, "confirmed": 2, "sold_out": 1}
    assert samples[key("headgate_requests_total", plane="participant", route="claims", outcome="pending")] == 3
    assert not [labels for name, labels in samples if name == "headgate_requests_total" and "consumer" in str(labels)]
    assert samples[key("headgate_queue_length")] == 7
    assert samples[key("headgate_queue_age_seconds")] == 1.5


def test_histograms_are_cumulated_over_the_buckets_of_the_port(console: Console, run_dir: Path) -> None:
    counters = Counters("participant")
    for seconds in (0.001, 0.002, 0.3, 99.0):
        counters.claim("masks", "confirmed", seconds)
    counters.batch(100, 0.01)
    counters.batch(513, 0.01)
    count(run_dir, counters)
    samples = scrape(console)

    def buckets(name: str) -> dict[str, float]:
        return {
            dict(labels)["le"]: value
            for (found, labels), value in samples.items()
            if found == f"{name}_bucket" and dict(labels).get("plane") != "console"
        }

    times = buckets("headgate_request_seconds")
    assert list(times) == [*(str(bound) for bound in SECONDS_BUCKETS), "+Inf"]
    assert list(times.values()) == [1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4]
    assert samples[key("headgate_request_seconds_count", plane="participant")] == 4
    assert samples[key("headgate_request_seconds_sum", plane="participant")] == pytest.approx(99.303)
    sizes = buckets("headgate_batch_size")
    assert list(sizes) == [*(str(float(bound)) for bound in SIZE_BUCKETS), "+Inf"]
    assert list(sizes.values()) == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
    assert samples[key("headgate_ledger_commit_seconds_count")] == 2


def test_processes_and_planes_are_added_up_without_a_sample_twice(console: Console, run_dir: Path) -> None:
    for number, plane in enumerate(("participant", "participant", "keeper")):
        counters = Counters(plane)
        counters.claim("masks", "confirmed", 0.001)
        counters.gauge("headgate_inflight", 5)
        count(run_dir, counters, f"{plane}-{number}")
    samples = scrape(console)
    assert samples[key("headgate_claims_total", campaign="masks", outcome="confirmed")] == 3
    assert samples[key("headgate_requests_total", plane="participant", route="claims", outcome="confirmed")] == 2
    assert samples[key("headgate_requests_total", plane="keeper", route="claims", outcome="confirmed")] == 1
    assert samples[key("headgate_inflight")] == 15
    assert samples[key("headgate_request_seconds_count", plane="participant")] == 2
    assert samples[key("headgate_request_seconds_count", plane="keeper")] == 1


def test_a_replica_has_as_many_readers_as_processes_that_read_from_it(console: Console, run_dir: Path) -> None:
    for number, in_use in enumerate(({"1": True, "2": False}, {"1": True, "2": True}, {"1": True, "2": False})):
        counters = Counters("participant")
        counters.replicas(in_use)
        count(run_dir, counters, f"participant-{number}")
    counters = Counters("console")
    counters.replicas({"1": True, "2": False})
    count(run_dir, counters, "console-2")
    samples = scrape(console)
    assert samples[key("headgate_replica_readers", replica="1")] == 4
    assert samples[key("headgate_replica_readers", replica="2")] == 1


def test_the_console_counts_its_own_requests_without_a_name_for_every_path_that_is_tried(console: Console) -> None:
    for path in ("/login", "/", "/campaigns/masks", "/nothing/here", "/campaigns/x/y", "/livez"):
        console.get(path)
    console.post("/logout", {})
    console.post("/livez", {})
    samples = scrape(console)
    counted = {
        (dict(labels)["route"], dict(labels)["outcome"]): value
        for (name, labels), value in samples.items()
        if name == "headgate_requests_total" and dict(labels)["plane"] == "console"
    }
    assert counted == {
        ("login_page", "ok"): 1, ("campaigns_page", "redirect"): 1, ("campaign_page", "redirect"): 1,
        ("none", "refused"): 3, ("livez", "ok"): 1, ("logout", "refused"): 1,
    }  # fmt: skip
    assert samples[key("headgate_request_seconds_count", plane="console")] == 8


def test_no_counter_falls_when_a_process_is_restarted(
    console: Console, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def monotonic(samples: Samples) -> Samples:
        return {found: value for found, value in samples.items() if found[0].endswith(("_total", "_bucket", "_count"))}

    seen = monotonic(scrape(console))
    for life in range(1, 4):
        counters = Counters("participant")
        # The process of this life; the one of the life before is dead from now on.
        monkeypatch.setattr("headgate.services.metrics_files._started", lambda _pid, life=life: str(life))
        for _ in range(life):
            counters.claim("masks", "confirmed", 0.001)
            counters.batch(1, 0.001)
            count(run_dir, counters, f"participant-{os.getpid()}")
            now = monotonic(scrape(console))
            assert all(now[found] >= value for found, value in seen.items())
            seen = now
    assert seen[key("headgate_claims_total", campaign="masks", outcome="confirmed")] == 6
    assert seen[key("headgate_batch_size_count")] == 6


def test_how_long_events_wait_is_read_from_the_ledger(console: Console, ledger: Ledger) -> None:
    def ages() -> dict[str, float]:
        name = "headgate_undelivered_event_age_seconds"
        return {dict(labels)["destination"]: age for (found, labels), age in scrape(console).items() if found == name}

    engine = open_engine(ledger.path)
    outbox = SqlOutbox(engine)
    assert ages() == {"webhook:shop": 0, "stream": 0}
    for name in ("webhook:shop", "stream", "webhook:removed"):
        outbox.begin(name)
    ledger.claim(ledger.create(), "central", 2)
    ledger.clock.forward(7.5)
    ledger.claim(ledger.create("other"), "central")
    assert ages() == {"webhook:shop": 7.5, "stream": 7.5}
    *_, second, third = (event.position for event in outbox.events(BEGINNING, 9))
    outbox.advance("webhook:shop", second)
    outbox.advance("stream", third)
    ledger.clock.forward(0.5)
    assert ages() == {"webhook:shop": 0.5, "stream": 0}
    engine.dispose()


def test_stock_is_counted_from_the_ledger(console: Console, ledger: Ledger) -> None:
    ledger.claim(ledger.create(), "central", 3)
    ledger.create("other", {"a": 1})
    samples = scrape(console)
    stock = {labels: value for (name, labels), value in samples.items() if name == "headgate_stock"}
    assert stock == {
        (("campaign", slug), ("state", state)): value
        for slug, states in {"masks": (4, 0, 3, 0), "other": (1, 0, 0, 0)}.items()
        for state, value in zip(("available", "held", "confirmed", "redeemed"), states, strict=True)
    }


def test_labels_that_came_from_outside_are_escaped(console: Console, run_dir: Path) -> None:
    hostile = 'a"b\\c\nheadgate_inflight 99'
    counters = Counters("participant")
    counters.claim(hostile, "confirmed", 0.001)
    counters.request(hostile, "confirmed", 0.001)
    count(run_dir, counters)
    samples = scrape(console)
    assert samples[key("headgate_claims_total", campaign=hostile, outcome="confirmed")] == 1
    assert samples[key("headgate_inflight")] == 0


def test_files_of_dead_processes_are_folded_where_nobody_scrapes(
    run_dir: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    folded = threading.Event()
    monkeypatch.setattr(console_app, "PUBLISH_EVERY_S", 0.0)
    monkeypatch.setattr(console_app, "collect", lambda directory: folded.set() if directory == run_dir else None)
    with TestClient(console_on(ledger, run_dir)):
        assert folded.wait(30)


def test_a_directory_that_cannot_be_written_is_an_error_and_no_false_zero(console: Console, run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / METRICS_DIR).write_text("no directory")
    assert console.get("/metrics").status_code == 500


@pytest.mark.parametrize("failing", ["campaigns", "tally"])
def test_what_processes_count_is_told_also_where_no_ledger_answers(
    console: Console, run_dir: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    ledger.create()

    def away(*_: object) -> None:
        raise LedgerUnavailable("injected")

    monkeypatch.setattr(ledger.campaigns, failing, away)
    counters = Counters("participant")
    counters.uncounted(7)
    count(run_dir, counters)
    samples = scrape(console)
    assert samples[key("headgate_uncounted_requests_total")] == 7
    assert samples[key("headgate_ledgers_away")] == 1
    assert not [name for name, _ in samples if name == "headgate_stock"]


def test_health(
    console: Console, client: TestClient[Litestar], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (console.get("/livez").status_code, console.get("/livez").text) == (200, "live\n")
    assert (console.get("/readyz").status_code, console.get("/readyz").text) == (200, "ready\n")
    for path in ("/livez", "/readyz", "/metrics"):
        assert (client.head(path).status_code, client.head(path).content) == (200, b"")

    def broken() -> None:
        raise OSError("no ledger at /secret/place")

    monkeypatch.setattr(ledger.operators, "count", broken)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "the ledger does not answer\n")
    assert console.get("/livez").status_code == 200


@dataclass
class SlowCounting:
    """Campaigns whose tally takes `seconds` of its own time."""

    seconds: float = 0.0
    now: float = 100.0
    calls: int = 0

    def tally(self, slug: str) -> Tally:
        if slug == "none":
            raise UnknownCampaign(slug)
        self.calls += 1
        self.now += self.seconds
        return Tally(self.calls, 0, 0, 0, 0, 0, self.calls, 0, 0, 0)


def test_a_tally_is_kept_for_a_second(ledger: Ledger) -> None:
    counting = SlowCounting()
    tallies = Tallies(counting.tally, ledger.clock, lambda: counting.now)
    assert [tallies.of("masks").tally.capacity for _ in range(3)] == [1, 1, 1]
    counting.now += FRESH_S - 0.001
    assert tallies.of("masks").tally.capacity == 1
    counting.now += 0.001
    assert tallies.of("masks").tally.capacity == 2
    assert tallies.of("other").tally.capacity == 3


def test_a_tally_that_takes_long_is_kept_long(ledger: Ledger) -> None:
    counting = SlowCounting(seconds=2.0)
    tallies = Tallies(counting.tally, ledger.clock, lambda: counting.now)
    tallies.of("masks")
    counting.now += 2.0 / COST_SHARE_MAX - 0.001
    assert tallies.of("masks").tally.capacity == 1
    counting.now += 0.001
    assert tallies.of("masks").tally.capacity == 2


def test_an_unknown_campaign_has_no_tally_and_blocks_none(ledger: Ledger) -> None:
    counting = SlowCounting()
    tallies = Tallies(counting.tally, ledger.clock, lambda: counting.now)
    for _ in range(2):
        with pytest.raises(UnknownCampaign):
            tallies.of("none")
    assert tallies.of("masks").tally.capacity == 1
