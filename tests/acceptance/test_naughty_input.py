"""Naughty strings, broken JSON and known attacks, everywhere a client can put them: never a server error."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.acceptance.client import NOTHING, Reply, build, fire, sane
from tests.acceptance.target import CLAIMS, JSON, ROUTES, SLUG, Target

# Every naughty string, everywhere a client can put one

STATE = f"/api/v1/campaigns/{SLUG}"
OTHER_HEADERS = ("User-Agent", "Accept-Language", "X-Forwarded-For", "Accept", "Origin", "Referer")
Build = Callable[[str, Target], bytes]


def _post(route: str, body: Any, target: Target) -> bytes:
    return build("POST", route, [JSON, target.auth], json.dumps(body).encode())


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _claim(headers: list[tuple[str, str]], body: bytes = b'{"pool":"central"}') -> bytes:
    return build("POST", CLAIMS, headers, body)


FORM = ("Content-Type", "application/x-www-form-urlencoded")
PLACES: dict[str, Build] = {
    "pool": lambda s, t: _post(CLAIMS, {"pool": s}, t),
    "field value": lambda s, t: _post(CLAIMS, {"pool": "central", "fields": {"name": s}}, t),
    "field name": lambda s, t: _post(CLAIMS, {"pool": "central", "fields": {s: "x"}}, t),
    "signals": lambda s, t: _post(CLAIMS, {"pool": "central", "signals": {"ua": s}}, t),
    "ticket": lambda s, t: _post(CLAIMS, {"pool": "central", "ticket": s}, t),
    "unknown member": lambda s, t: _post(CLAIMS, {"pool": "central", s: s}, t),
    "raw body": lambda s, t: _claim([JSON, t.auth], _raw(s)),
    "form": lambda s, t: _claim([FORM, t.auth], b"pool=" + _quoted(s).encode()),
    "phone": lambda s, t: _post("/api/v1/otp", {"phone": s}, t),
    "code": lambda s, t: _post("/api/v1/otp/verify", {"phone": s, "code": s}, t),
    "idempotency key": lambda s, t: _claim([JSON, t.auth, ("Idempotency-Key", s)]),
    "content type": lambda s, t: _claim([("Content-Type", s), t.auth]),
    "token": lambda s, _: _claim([JSON, ("Authorization", f"Bearer {s}")]),
    "cookie": lambda s, _: _claim([JSON, ("Cookie", f"hg_session={s}")]),
    "other headers": lambda s, _: build("GET", STATE, [(name, s) for name in OTHER_HEADERS]),
    "page language": lambda s, _: build("GET", f"/c/{SLUG}", [("Accept-Language", s), ("Cookie", s)]),
    "slug quoted": lambda s, _: build("GET", f"/api/v1/campaigns/{_quoted(s)}"),
    "page slug quoted": lambda s, _: build("GET", f"/c/{_quoted(s)}"),
    "slug raw": lambda s, _: build("GET", b"/c/" + _raw(s).replace(b"\n", b"").replace(b" ", b"")),
    "claim id": lambda s, t: build("DELETE", f"{CLAIMS}/{_quoted(s)}", [t.auth]),
    "query": lambda s, _: build("GET", f"/c/{SLUG}?lang={_quoted(s)}&{_quoted(s)}"),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_naughty_string(target: Target, naughty_strings: list[str], place: str) -> None:
    statuses = Counter[int]()
    with target.survives() as wire:
        for text in naughty_strings:
            reply = sane(wire.send(PLACES[place](text, target), method="GET"), (place, text))
            _not_reflected(reply, text)
            statuses[reply.status] += 1
    assert statuses[0] <= (515 if place == "slug raw" else 0), f"connections closed without an answer: {statuses}"


def _not_reflected(reply: Reply, text: str) -> None:
    if "<" in text and "html" in reply.headers.get("content-type", ""):
        assert text.encode("utf-8", "surrogatepass") not in reply.body, f"reflected without escaping: {text!r}"


# Every JSON parser case, as the body of every POST route


@pytest.mark.parametrize("route", ROUTES)
def test_every_json_case(target: Target, json_cases: dict[str, bytes], route: str) -> None:
    headers = [JSON, target.auth] if route != "/api/v1/sessions" else [JSON, ("Accept", "application/json")]
    wrong = []
    # A session is asked for without a body, so one may be ignored there; everywhere else it is read.
    expected = {400} if route != "/api/v1/sessions" else {201, 400, 413, 415}
    with target.survives() as wire:
        if wire.send(build("POST", route, headers, b"{}")).status == 404:
            expected = {404}  # Nothing is served there: then that is so for every body.
        for name, document in sorted(json_cases.items()):
            length = ("Content-Length", str(len(document)))
            reply = sane(wire.send(build("POST", route, [*headers, length], document)), name)
            if name.startswith("n_") and reply.status not in expected:
                wrong.append(f"{name}: {reply.status} {document[:40]!r}")
            assert reply.status, f"no answer to {name}"
    assert not wrong, f"{len(wrong)} documents that are not JSON were not answered 400:\n" + "\n".join(wrong)


def test_every_json_case_inside_a_claim(target: Target, json_cases: dict[str, bytes]) -> None:
    """Valid documents as the value of `fields` are taken or refused as invalid; broken ones break the whole body."""
    wrong = []
    with target.survives() as wire:
        for name, document in sorted(json_cases.items()):
            token = target.api.session()
            body = b'{"pool":"central","fields":' + document + b"}"
            headers = [JSON, ("Authorization", f"Bearer {token}")]
            reply = sane(wire.send(build("POST", CLAIMS, headers, body)), name)
            if reply.status not in ({400} if name.startswith("n_") else {201, 400}) and not _repairs_itself(body):
                wrong.append(f"{name}: {reply}")
    assert not wrong, "\n".join(wrong)


def _repairs_itself(body: bytes) -> bool:
    """Some broken documents (`]`-less, comma first) become valid JSON by what surrounds them."""
    try:
        json.loads(body, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    except (ValueError, RecursionError):
        return False
    return True


# Attacks of the Core Rule Set, byte for byte


def raw_request(
    case: dict[str, Any], target_path: str | None = None, extra: list[tuple[str, str]] | None = None
) -> bytes:
    """The case as it stands, with a Content-Length where it has data and none; or aimed at another path."""
    if case["encoded_request"] and not target_path:
        return base64.b64decode(case["encoded_request"])
    headers = {str(k): str(v) for k, v in (case["headers"] or {}).items()} | dict(extra or [])
    body = (case["data"] or "").encode("utf-8", "surrogatepass")
    if body and not {"content-length", "transfer-encoding"} & {name.lower() for name in headers}:
        headers["Content-Length"] = str(len(body))
    first = f"{case['method'] or 'GET'} {target_path or case['uri'] or '/'} {case['version'] or 'HTTP/1.1'}"
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


async def replay(port: int, requests: list[tuple[str, bytes]], *, parallel: int = 24) -> list[tuple[str, Reply]]:
    waiting, replies = iter(requests), []

    async def queue() -> None:
        for name, payload in waiting:
            replies.append((name, await fire(port, payload, timeout_s=2)))

    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(queue())
    return replies


def test_every_attack_of_the_core_rule_set(target: Target, attacks: list[dict[str, Any]]) -> None:
    with target.survives():
        replies = asyncio.run(replay(target.port, [(case["id"], raw_request(case)) for case in attacks]))
    _judge(replies, len(attacks))


def test_every_attack_aimed_at_the_claim_route(target: Target, attacks: list[dict[str, Any]]) -> None:
    """The same headers, queries and bodies, with a session, where claims are made."""
    requests = []
    for case in attacks:
        query = str(case["uri"] or "").partition("?")[2].replace(" ", "%20")
        path = CLAIMS + (f"?{query}" if query else "")
        requests.append((case["id"], raw_request(case, path, [target.auth])))
    with target.survives():
        replies = asyncio.run(replay(target.port, requests))
    _judge(replies, len(attacks))


def _judge(replies: list[tuple[str, Reply]], expected: int) -> None:
    assert len(replies) == expected
    for name, reply in replies:
        sane(reply, name)
    silent = [name for name, reply in replies if reply is NOTHING]
    assert len(silent) < expected // 20, f"{len(silent)} of {expected} requests got no answer at all: {silent[:20]}"
