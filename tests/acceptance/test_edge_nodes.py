"""What becomes of a request when the node that has it dies: a claim is never sent to a second one."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.client import Api, claims_path, describe, refused
from tests.acceptance.product import free_port
from tests.edges import edge

CLAIMS = claims_path("masks")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Node(socketserver.ThreadingTCPServer):
    """Takes every request; answers it, or hangs up as one that is killed does.  `taken` holds their first lines."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.taken: list[str] = []
        super().__init__(("127.0.0.1", 0), _Request)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Request(socketserver.StreamRequestHandler):
    server: Node

    def handle(self) -> None:
        while line := self.rfile.readline().decode().strip():
            length = 0
            while header := self.rfile.readline().strip().lower():
                if header.startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            self.rfile.read(length)
            self.server.taken.append(" ".join(line.split()[:2]))
            if not self.server.answers:
                self.request.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(ANSWER)


@contextmanager
def fleet(
    tmp_path: Path, *answers: bool, backup: Node | None = None, dead: int = 0
) -> Iterator[tuple[Api, list[Node]]]:
    """An edge before nodes that answer or do not, and before some places where nobody listens."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(Node(answers=one)) for one in answers]
        for node in [*nodes, *([backup] if backup else [])]:
            threading.Thread(target=node.serve_forever, daemon=True).start()
            stack.callback(node.shutdown)
        places = [f"127.0.0.1:{free_port()}" for _ in range(dead)] + [node.place for node in nodes]
        more = {"HEADGATE_EDGE__BACKUP_NODES": backup.place} if backup else {}
        front = stack.enter_context(edge(tmp_path, tmp_path / "public", ",".join(places), more))
        yield stack.enter_context(Api(front.url)), nodes


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_what_may_have_been_done_is_answered_unknown_and_a_claim_is_sent_once(tmp_path: Path, method: str) -> None:
    path = CLAIMS if method == "POST" else f"{CLAIMS}/1"
    with fleet(tmp_path, False, False) as (client, nodes):
        answer = client.request(method, path)
        taken = [line for node in nodes for line in node.taken]
    refused(answer, 503, "unknown")
    # To cancel twice is to cancel once, so another node may be asked.
    assert taken == [f"{method} {path}"] * (1 if method == "POST" else 2)


def test_what_changes_nothing_is_asked_of_another(tmp_path: Path) -> None:
    with fleet(tmp_path, False, True) as (client, nodes):
        answers = [client.request("GET", f"{CLAIMS}/mine") for _ in range(4)]
        died, alive = nodes
        assert [answer.status_code for answer in answers] == [200] * 4, describe(answers[0])
        assert len(alive.taken) == 4
        assert died.taken, "the other one was never asked"


def test_a_claim_goes_to_another_node_where_one_cannot_be_reached(tmp_path: Path) -> None:
    with fleet(tmp_path, True, dead=2) as (client, nodes):
        for _ in range(4):
            answer = client.request("POST", CLAIMS, json={"pool": "central"})
            assert answer.status_code == 200, describe(answer)
        assert nodes[0].taken == [f"POST {CLAIMS}"] * 4


def test_the_standby_cluster_is_asked_while_nobody_else_answers(tmp_path: Path) -> None:
    with Node(answers=True) as backup, fleet(tmp_path, True, backup=backup) as (client, nodes):
        assert client.request("POST", CLAIMS).status_code == 200
        assert (len(nodes[0].taken), backup.taken) == (1, [])
    with Node(answers=True) as backup, fleet(tmp_path / "again", backup=backup, dead=2) as (client, _):
        for _ in range(3):
            assert client.request("POST", CLAIMS).status_code == 200
        assert len(backup.taken) == 3


def test_where_no_node_is_there_all_are_told_so(tmp_path: Path) -> None:
    with fleet(tmp_path, dead=1) as (client, _):
        refused(client.request("POST", CLAIMS), 503, "unknown")
        page = client.request("POST", "/c/masks", data={"pool": "central"})
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert "请稍候" in page.text
        refused(client.request("GET", "/api/v1/campaigns/masks"), 503, "overloaded")


def test_a_node_is_told_one_address_and_nothing_that_the_visitor_made_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as node:
        place = f"127.0.0.1:{node.getsockname()[1]}"
        believing = {"HEADGATE_TRUSTED_PROXIES": "192.0.2.0/24"}
        with edge(tmp_path, tmp_path / "public", place, believing) as front, Api(front.url) as client:
            forged = {
                "X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Forwarded-Proto": "https", "Proxy": "evil",
                "X-Real-IP": "203.0.113.9", "x_forwarded_for": "203.0.113.9",
            }  # fmt: skip
            asking = threading.Thread(target=lambda: client.request("POST", CLAIMS, headers=forged))
            asking.start()
            connection, _ = node.accept()
            with connection:
                head = connection.recv(65_536).decode().lower()
                connection.sendall(ANSWER)
            asking.join()
    lines = [line for line in head.splitlines() if "forward" in line or line.startswith("proxy")]
    assert sorted(lines) == ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"]
