"""Webhooks against a receiver that fails in every way that receivers fail."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

import pytest

from headgate.domain.event import BEGINNING, Event, EventKind, Position
from headgate.messaging import webhooks
from headgate.messaging.webhooks import Webhook, sign
from headgate.ports.destination import NotDelivered
from tests.fakes import HandClock
from tests.needs import unavailable
from tests.receiver import Act, Receiver, answer, drip, hang, say
from tests.servers import free_port

SECRET = b"s" * 32
SHORT_S = 0.3
"""The time for an answer in tests that let it pass."""

Open = Callable[..., Webhook]


def event(number: int, kind: EventKind = EventKind.CONFIRMED) -> Event:
    return Event(Position(7, number), kind, 1_796_097_600_000, f"{number:030x}", "masks", "central")


PAGE = [event(0), event(1), event(0, EventKind.CANCELLED)]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def open_webhook(clock: HandClock) -> Iterator[Open]:
    opened = []

    def make(url: str, *secrets: bytes) -> Webhook:
        webhook = Webhook("shop", url, secrets, clock)
        opened.append(webhook)
        return webhook

    yield make
    for webhook in opened:
        webhook.close()


def test_a_page_is_one_request_with_every_event_and_its_own_id(open_webhook: Open) -> None:
    with Receiver() as receiver:
        assert open_webhook(receiver.url).deliver(BEGINNING, PAGE)
        (got,) = receiver.requests
    assert (got.method, got.path) == ("POST", "/hooks?token=sekret")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("headgate/")
    assert got.events[0] == {
        "id": f"{0:030x}.confirmed",
        "type": "claim.confirmed",
        "at": "2026-12-01T04:00:00.000Z",
        "campaign": "masks",
        "claim": {"id": f"{0:030x}", "pool": "central", "status": "confirmed"},
        "position": "7-0",
    }
    assert [told["id"] for told in got.events] == [one.id for one in PAGE]
    assert len({told["id"] for told in got.events}) == 3


def test_a_request_is_signed_as_the_standard_has_it(open_webhook: Open, clock: HandClock) -> None:
    with Receiver() as receiver:
        open_webhook(receiver.url, SECRET, b"t" * 32).deliver(BEGINNING, PAGE)
        (got,) = receiver.requests
    id_, timestamp = got.headers["webhook-id"], got.headers["webhook-timestamp"]
    assert timestamp == str(clock.ms // 1000)
    assert "." not in id_, "a point would part it differently from what is signed"
    content = f"{id_}.{timestamp}.".encode() + got.body
    expected = [
        "v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
        for secret in (SECRET, b"t" * 32)
    ]
    assert got.headers["webhook-signature"].split(" ") == expected


def test_signatures_are_those_of_the_reference_implementations() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, tests of its libraries.
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    given = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_nothing_is_signed(open_webhook: Open) -> None:
    with Receiver() as receiver:
        open_webhook(receiver.url).deliver(BEGINNING, PAGE)
        assert "webhook-signature" not in receiver.requests[0].headers
        assert {"webhook-id", "webhook-timestamp"} <= receiver.requests[0].headers.keys()


def test_a_request_keeps_its_id_while_its_content_is_the_same(open_webhook: Open, clock: HandClock) -> None:
    with Receiver(answer(500)) as receiver:
        webhook = open_webhook(receiver.url, SECRET)
        with pytest.raises(NotDelivered):
            webhook.deliver(BEGINNING, PAGE)
        clock.ms += 60_000
        webhook.deliver(BEGINNING, PAGE)
        webhook.deliver(BEGINNING, [*PAGE, event(2)])
        first, again, more = receiver.requests
    assert first.body == again.body
    assert first.headers["webhook-id"] == again.headers["webhook-id"] != more.headers["webhook-id"]
    assert int(again.headers["webhook-timestamp"]) == int(first.headers["webhook-timestamp"]) + 60
    assert first.headers["webhook-signature"] != again.headers["webhook-signature"]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_a_delivery(open_webhook: Open, status: int) -> None:
    with Receiver(answer(status)) as receiver:
        assert open_webhook(receiver.url).deliver(BEGINNING, PAGE)


FAILING = {
    "a server error": (answer(500), "answered 500"),
    "not found": (answer(404), "answered 404"),
    "too many": (answer(429, headers={"Retry-After": "9"}), "answered 429"),
    "gone": (answer(410), "410 Gone and wants no more events; until it is removed"),
    "not modified": (answer(304), "answered 304"),
    "closed without a word": (say(b""), "cannot be reached"),
    "closed in the status line": (say(b"HTTP/1.1 20"), "cannot be reached"),
    "closed in the headers": (say(b"HTTP/1.1 200 OK\r\nContent-Le"), "cannot be reached"),
    "another protocol": (say(b"SSH-2.0-OpenSSH_9.9\r\n"), "cannot be reached"),
    "headers without end": (say(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 1_000_000), "cannot be reached"),
}


@pytest.mark.parametrize(("act", "said"), FAILING.values(), ids=FAILING)
def test_anything_else_is_none_and_can_be_tried_again(open_webhook: Open, act: Act, said: str) -> None:
    with Receiver(act) as receiver:
        webhook = open_webhook(receiver.url, SECRET)
        with pytest.raises(NotDelivered, match=said) as found:
            webhook.deliver(BEGINNING, PAGE)
        assert "sekret" not in str(found.value)
        assert webhook.deliver(BEGINNING, PAGE)
        assert receiver.requests[0].body == receiver.requests[1].body


def test_a_redirect_leads_nowhere(open_webhook: Open) -> None:
    with Receiver() as elsewhere, Receiver(answer(307, headers={"Location": elsewhere.url})) as receiver:
        with pytest.raises(NotDelivered, match="answered 307, and redirects are not followed"):
            open_webhook(receiver.url).deliver(BEGINNING, PAGE)
        assert elsewhere.requests == []


def test_proxies_that_the_environment_names_are_not_used(open_webhook: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        open_webhook(receiver.url).deliver(BEGINNING, PAGE)
        assert (len(receiver.requests), proxy.connections) == (1, 0)


@pytest.mark.parametrize("dripping", [False, True], ids=["silent", "a byte now and then"])
def test_a_receiver_that_does_not_come_to_an_answer_is_left(
    open_webhook: Open, monkeypatch: pytest.MonkeyPatch, *, dripping: bool
) -> None:
    monkeypatch.setattr(webhooks, "ANSWER_S", SHORT_S)
    let_go = threading.Event()
    act = drip(let_go, b"HTTP/1.1 200 OK\r\nX-Slow: ") if dripping else hang(let_go)
    with Receiver(act) as receiver:
        webhook = open_webhook(receiver.url)
        began = time.monotonic()
        with pytest.raises(NotDelivered, match=f"did not answer within {SHORT_S:g} s"):
            webhook.deliver(BEGINNING, PAGE)
        assert time.monotonic() - began < SHORT_S + 5
        let_go.set()
        assert webhook.deliver(BEGINNING, PAGE)
        assert receiver.connections == 2, "a connection on which an answer may still come was used again"


BODIES = {
    "ends early": say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
    "is no gzip": answer(200, b"garbage", {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("act", BODIES.values(), ids=BODIES)
def test_what_follows_a_2xx_changes_nothing(open_webhook: Open, act: Act) -> None:
    with Receiver(act) as receiver:
        webhook = open_webhook(receiver.url)
        for _ in range(2):
            assert webhook.deliver(BEGINNING, PAGE)
        assert len(receiver.requests) == 2


def test_a_large_body_is_left_with_its_connection(open_webhook: Open) -> None:
    with Receiver(answer(200, b"x" * 4_000_000), answer(200, b"x" * webhooks.BODY_MAX_BYTES)) as receiver:
        webhook = open_webhook(receiver.url)
        for _ in range(3):
            assert webhook.deliver(BEGINNING, PAGE)
        assert receiver.connections == 2


def test_a_body_without_end_is_not_read_to_it(open_webhook: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "ANSWER_S", SHORT_S)
    let_go = threading.Event()
    begin = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
    with Receiver(drip(let_go, begin)) as receiver:
        assert open_webhook(receiver.url).deliver(BEGINNING, PAGE)
        let_go.set()


def test_connections_are_used_again(open_webhook: Open) -> None:
    with Receiver(answer(200, b"thanks"), answer(204), answer(500, b"no")) as receiver:
        webhook = open_webhook(receiver.url)
        for _ in range(2):
            webhook.deliver(BEGINNING, PAGE)
        with pytest.raises(NotDelivered):
            webhook.deliver(BEGINNING, PAGE)
        webhook.deliver(BEGINNING, PAGE)
        assert receiver.connections == 1


@pytest.mark.parametrize("host", ["http://127.0.0.1:{port}", "https://nowhere.invalid"])
def test_a_receiver_that_is_not_there_is_said_without_the_url(open_webhook: Open, host: str) -> None:
    url = host.format(port=free_port()) + "/?token=sekret"
    with pytest.raises(NotDelivered, match="cannot be reached") as found:
        open_webhook(url).deliver(BEGINNING, PAGE)
    assert "sekret" not in str(found.value)
    with pytest.raises(NotDelivered, match="cannot be reached") as found:
        open_webhook(url).reach()
    assert "sekret" not in str(found.value)


def test_a_look_at_a_receiver_sends_nothing(open_webhook: Open) -> None:
    with Receiver() as receiver:
        webhook = open_webhook(receiver.url)
        webhook.reach()
        webhook.deliver(BEGINNING, PAGE)
        assert (receiver.connections, len(receiver.requests)) == (2, 1)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of 127.0.0.1, signed by nobody else."""
    if which("openssl") is None:
        unavailable("NO OPENSSL: put the program openssl on PATH")
    made, signed = tmp_path / "receiver.pem", tmp_path / "receiver.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=receiver", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made, "-out", signed],
        check=True, capture_output=True,
    )  # fmt: skip
    made.write_bytes(made.read_bytes() + signed.read_bytes())
    return made


def test_a_receiver_whose_certificate_is_not_known_gets_nothing(
    open_webhook: Open, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Receiver(tls=context) as receiver:
        with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
            open_webhook(receiver.url).reach()
        with pytest.raises(NotDelivered, match="CERTIFICATE_VERIFY_FAILED"):
            open_webhook(receiver.url).deliver(BEGINNING, PAGE)
        assert receiver.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert open_webhook(receiver.url).deliver(BEGINNING, PAGE)
