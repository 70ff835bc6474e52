"""What differs on a machine and in an nginx configuration, and what it costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.edge.difference import FAILING, OK, WARNING, Difference
from headgate.edge.examining import examine_machine, examine_nginx
from headgate.edge.machine import KERNEL, NEVER_SET
from headgate.edge.reading import Unreadable, read_configuration
from headgate.edge.upstreams import examine_upstreams
from headgate.settings import Address
from tests.acceptance.product import free_port, run_cli
from tests.edges import settings
from tests.shared_data import naughty_strings

GOOD = {name: str(value) for name, value, _ in KERNEL}
FOREIGN = """
worker_processes 1;
events { worker_connections 1024; }
http {
    ssl_protocols TLSv1 TLSv1.2;
    set_real_ip_from 0.0.0.0/0;
    keepalive_timeout 0;
    server_tokens on;
    client_max_body_size 1k;
    include more.conf;
    server {
        listen 80;
        listen 443 ssl;
        location / {
            proxy_pass http://backend;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_next_upstream error timeout non_idempotent;
        }
        location /old { proxy_pass http://nowhere; }
        location /host { proxy_pass http://shop.example:80; }
    }
}
"""
MORE = """
upstream backend {
    ip_hash;
    server 10.0.0.1:8080;
    server 10.0.0.1:8080;
    server 10.0.0.2:99999;
    server 10.0.0.3:8080 down;
    server 10.0.0.4;
    server unix:/run/node.sock;
}
"""


def verdicts(found: list[Difference]) -> dict[str, str]:
    return {one.name: one.verdict for one in found}


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    (tmp_path / "more.conf").write_text(MORE)
    (tmp_path / "nginx.conf").write_text(FOREIGN)
    return tmp_path / "nginx.conf"


def test_a_machine_that_is_set_up_differs_in_nothing() -> None:
    assert set(verdicts(list(examine_machine(GOOD.get, 65_535))).values()) == {OK}
    assert set(verdicts(list(examine_machine(GOOD.get, -1))).values()) == {OK}, "-1 means that there is no limit"


@pytest.mark.parametrize("name", GOOD)
def test_each_value_that_is_too_low_is_named_with_its_cost(name: str) -> None:
    changed = {**GOOD, name: str(int(GOOD[name]) - 1)}
    (different,) = [one for one in examine_machine(changed.get, 65_535) if one.verdict != OK]
    assert (different.name, different.found, different.verdict) == (name, changed[name], WARNING)
    assert GOOD[name] in different.wanted
    assert different.cost


def test_what_cannot_be_seen_or_must_never_be_on_is_named() -> None:
    found = verdicts(list(examine_machine({NEVER_SET: "1"}.get, 1_024)))
    assert found == {**dict.fromkeys(GOOD, WARNING), NEVER_SET: FAILING, "open files": WARNING}


def test_all_that_hurts_in_anybodys_configuration_is_found(foreign: Path) -> None:
    found = list(examine_nginx(read_configuration(foreign), cores=4))
    assert {name: verdict for name, verdict in verdicts(found).items() if verdict != OK} == {
        "worker_processes": WARNING,
        "worker_connections": WARNING,
        "worker_rlimit_nofile": WARNING,
        "listen 80: backlog": WARNING,
        "listen 443: backlog": WARNING,
        "ssl_protocols": FAILING,
        "HTTP/2": WARNING,
        "keep-alive to clients": WARNING,
        "upstream backend: keep-alive": WARNING,
        "upstream backend: ip_hash": WARNING,
        "proxy_next_upstream": FAILING,
        "set_real_ip_from": FAILING,
        "X-Forwarded-For": WARNING,
        "limit_req": WARNING,
        "client_max_body_size": WARNING,
        "server_tokens": WARNING,
    }
    assert all(one.wanted and one.cost for one in found if one.verdict != OK)
    places = {one.name: one.place for one in found}
    assert places["server_tokens"] == f"{foreign}:8"
    assert places["upstream backend: ip_hash"] == f"{foreign.parent / 'more.conf'}:3"


def test_entries_of_server_groups_that_lead_nowhere_are_found(foreign: Path) -> None:
    asked: list[Address] = []

    def reaches(address: Address) -> bool:
        asked.append(address)
        return address.port == 8080

    found = list(examine_upstreams(read_configuration(foreign), reaches))
    assert [(one.name, one.found, one.verdict) for one in found] == [
        ("upstream backend: 10.0.0.1:8080", "somebody listens there", OK),
        ("upstream backend: 10.0.0.1:8080", "twice", WARNING),
        ("upstream backend: 10.0.0.2:99999", "no HOST:PORT", FAILING),
        ("upstream backend: 10.0.0.3:8080", "switched off (down)", WARNING),
        ("upstream backend: 10.0.0.4", "nobody listens there", WARNING),
        ("upstream backend: unix:/run/node.sock", "a socket of this machine", OK),
        ("proxy_pass http://nowhere", "no group of that name", WARNING),
    ]
    assert asked == [Address("10.0.0.1", 8080), Address("10.0.0.4", 80)]


def test_a_group_of_which_nobody_answers_fails(tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text("http { upstream nodes { server 10.0.0.1:1; } }")
    found = list(examine_upstreams(read_configuration(file), lambda _: False))
    assert [one.verdict for one in found] == [WARNING, FAILING]


def test_what_is_rendered_differs_in_nothing(tmp_path: Path) -> None:
    node = free_port()
    variables = settings(tmp_path, free_port(), tmp_path / "public", f"127.0.0.1:{node}")
    variables["HEADGATE_LIMITS__PER_IP_PER_MINUTE"] = "200"
    run_cli("edge", "render", "--out", tmp_path / "etc", settings=variables).ok()
    directives = read_configuration(tmp_path / "etc/nginx/nginx.conf")
    found = [*examine_nginx(directives, 2), *examine_upstreams(directives, lambda _: True)]
    assert [one for one in found if one.verdict != OK] == []


BROKEN: dict[str, tuple[str, str]] = {
    "ends too early": ("http {\n  server {", "expecting"),
    "ends in a directive": ("worker_processes 1", "in the middle of a directive"),
    "one bracket too many": ("http { }\n}", 'unexpected "}"'),
    "not there": ("include nowhere.conf;", "nowhere.conf"),
    "includes itself": ("include nginx.conf;", "includes a file that includes it"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path, case: str) -> None:
    content, says = BROKEN[case]
    file = tmp_path / "nginx.conf"
    file.write_text(content)
    with pytest.raises(Unreadable) as raised:
        read_configuration(file)
    assert str(file.parent) in str(raised.value)
    assert says in str(raised.value)
    run_cli("edge", "check", "--conf", file).failed(says, codes=(1,))


def unreadable(directory: Path) -> list[Path]:
    (directory / "binary").write_bytes(bytes(range(256)) * 40)
    (directory / "deep").write_text("a {" * 5_000)
    (directory / "strings").write_text("\n".join(naughty_strings()), encoding="utf-8", errors="surrogatepass")
    return [*directory.iterdir(), directory, directory / "nowhere"]


def refusal(file: Path) -> str:
    """What is said of a file that cannot be read; its own path where it can."""
    try:
        directives = read_configuration(file)
    except Unreadable as error:
        return str(error)
    list(examine_nginx(directives, 2))
    list(examine_upstreams(directives, lambda _: True))
    return str(file)


def test_what_is_no_configuration_is_refused_and_not_with_a_stack_trace(tmp_path: Path) -> None:
    for file in unreadable(tmp_path):
        assert str(tmp_path) in refusal(file)


def test_directives_without_what_they_need_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    names = ["worker_processes", "keepalive_timeout", "listen", "ssl_protocols", "server", "proxy_pass", "upstream"]
    file.write_text("http { " + " ".join(f"{name};" for name in names) + " upstream { server; } }")
    assert refusal(file) == str(file)


def test_the_command_tells_scripts_and_people(foreign: Path) -> None:
    told = run_cli("edge", "check", "--conf", foreign, "--json")
    assert told.code == 1
    checks = json.loads(told.out)
    assert checks["ok"] is False
    assert {"name", "verdict", "found", "wanted", "cost", "place"} == set(checks["checks"][0])
    shown = run_cli("edge", "check", "--conf", foreign)
    assert "failing proxy_next_upstream: non_idempotent" in shown.out
    assert f"({foreign}:17)" in shown.out
