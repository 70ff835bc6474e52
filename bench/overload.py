"""How fast a "no" comes when every permit is taken.

wrk keeps as many connections busy as there are permits; as many again belong to people who are refused,
and who wait, as they are told to, before they ask again.  Their waiting times are what is measured.
"""

import asyncio
import random
import subprocess
import time

import httptools

from bench.measuring import ROOT, BenchmarkFailed, find_wrk, headgate_server

PERMITS = 350
PEOPLE = 350
WARM_UP_S = 1.0


class _Answer(asyncio.Protocol):
    def __init__(self):
        self._parser = httptools.HttpResponseParser(self)
        self.waiting = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self._parser.feed_data(data)

    def on_message_complete(self):
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(status)

    def connection_lost(self, _error):
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_exception(ConnectionError("the server closed the connection"))


async def _person(port, path, token, until, rng, taken):
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(_Answer, "127.0.0.1", port)
    body = b'{"pool":"central"}'
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    await asyncio.sleep(rng.random())
    while loop.time() < until:
        protocol.waiting = loop.create_future()
        started = time.perf_counter()
        protocol.transport.write(request)
        status = await protocol.waiting
        taken.append((status, (time.perf_counter() - started) * 1000))
        await asyncio.sleep(1 + rng.random() * 0.2)
    protocol.transport.close()


async def _people(port, path, tokens, seconds):
    rng = random.Random(1)
    taken: list[tuple[int, float]] = []
    until = asyncio.get_running_loop().time() + seconds
    await asyncio.gather(*(_person(port, path, token, until, rng, taken) for token in tokens))
    return taken


def refusal_p99_ms(shop, seconds):
    data, listed = shop.ledger({"central": 100_000_000})
    path = "/api/v1/campaigns/rush/claims"
    with shop.tokens.open() as file:
        lines = [line.strip() for line in file]
    people = lines[-PEOPLE:]
    with headgate_server(data, shop.log("overload")) as server:
        busy = subprocess.Popen(
            [find_wrk(), "-t1", f"-c{PERMITS}", f"-d{seconds + 3}", "-s", str(ROOT / "claims.lua"), server.url, "--",
             str(shop.tokens), path, str(listed), "0"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(WARM_UP_S)
        taken = asyncio.run(_people(server.port, path, people, seconds))
        out, _ = busy.communicate(timeout=60)
    refused = sorted(wait for status, wait in taken if status == 503)
    admitted = sorted(wait for status, wait in taken if status in (200, 201))
    if len(refused) < 100 or len(refused) + len(admitted) != len(taken):
        raise BenchmarkFailed(f"{len(refused)} refusals and {len(admitted)} claims among {len(taken)} answers: {out}")
    p99 = refused[int(len(refused) * 0.99)]
    print(f"  {len(refused)} refusals: p50 {refused[len(refused) // 2]:.2f} ms, p99 {p99:.2f} ms; ", end="")
    print(f"{len(admitted)} admitted: p50 {admitted[len(admitted) // 2]:.2f} ms" if admitted else "none admitted")
    return p99
