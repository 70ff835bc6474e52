"""What is in the files of an edge, and what the settings must not be for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from headgate.edge import machine
from headgate.edge.checking import check_edge
from headgate.edge.nginx import ANY, Nginx, UnusableNginx, check_nginx, parse_nginx
from headgate.edge.rendering import FILES, render
from headgate.settings import Settings, SettingsError, load

HERE = Path("/opt/headgate/bin/headgate")
NGINX = Path("/usr/sbin/nginx")
DEBIAN = (
    "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.8\nconfigure arguments: --with-http_ssl_module "
    "--with-http_realip_module --with-http_v2_module --with-http_gzip_static_module --with-http_geoip_module=dynamic"
)


def made(**overrides: Any) -> Settings:
    return load(None, {"data_dir": "/var/lib/headgate", **overrides}, {})


def rendered(nginx: Nginx = ANY, **overrides: Any) -> dict[str, str]:
    return render(made(**overrides), nginx, HERE, NGINX, Path("/etc/headgate-edge"))


def test_every_file_is_rendered_and_says_by_whom() -> None:
    for place, content in rendered().items():
        assert "`headgate edge render`" in content, place
        assert content.endswith("\n"), place
        assert "{{" not in content, place
    assert set(rendered()) == set(FILES)


def test_the_values_of_the_machine_are_there_each_with_its_reason() -> None:
    lines = rendered()["sysctl.d/60-headgate.conf"].splitlines()
    wanted = {
        "net.core.somaxconn": "4096",
        "net.ipv4.tcp_max_syn_backlog": "4096",
        "net.ipv4.tcp_max_tw_buckets": "50000",
        "net.ipv4.tcp_tw_reuse": "1",
        "net.ipv4.tcp_timestamps": "1",
    }
    found = {name.strip(): value.strip() for line in lines if "=" in line for name, value in [line.split("=")]}
    assert found == wanted
    for number, line in enumerate(lines):
        if "=" in line:
            assert re.fullmatch(r"# [A-Z].*\.", lines[number - 1]), line
    assert not any(line.startswith(machine.NEVER_SET) for line in lines)
    assert rendered()["limits.d/60-headgate.conf"].count("nofile 65535") == 2
    nginx = rendered()["nginx/nginx.conf"]
    for directive in (
        "worker_connections 10240;",
        "worker_processes auto;",
        "worker_rlimit_nofile 102400;",
        "backlog=65533;",
    ):
        assert directive in nginx


def test_nodes_are_those_named_or_the_one_of_this_machine() -> None:
    assert "server 127.0.0.1:8000 max_fails" in rendered()["nginx/headgate/upstreams.conf"]
    several = rendered(edge={"nodes": ["10.0.0.1:8000", "10.0.0.2:8000"], "backup_nodes": ["10.1.0.1:8000"]})
    found = re.findall(r"server (\S+) .*?;(?: +#.*)?$", several["nginx/headgate/upstreams.conf"], re.MULTILINE)
    assert found == ["10.0.0.1:8000", "10.0.0.2:8000", "10.1.0.1:8000"]
    assert re.search(r"10\.1\.0\.1:8000 .*backup;", several["nginx/headgate/upstreams.conf"])


def test_a_node_that_listens_everywhere_is_asked_on_this_machine() -> None:
    for listen, asked in (("0.0.0.0:8000", "127.0.0.1:8000"), ("[::]:8000", "[::1]:8000")):
        assert f"server {asked} " in rendered(listen=listen)["nginx/headgate/upstreams.conf"]


def test_a_claim_is_never_repeated_by_the_edge() -> None:
    assert "non_idempotent" not in "".join(rendered().values())


def test_http2_is_asked_for_as_the_nginx_that_is_there_takes_it() -> None:
    tls = {"certificate": "/c.pem", "certificate_key": "/k.pem"}
    old, new = rendered(edge=tls), rendered(ANY._replace(version=(1, 25, 1)), edge=tls)
    assert "ssl http2" in old["nginx/nginx.conf"]
    assert "http2 on;" in new["nginx/nginx.conf"]
    assert "ssl http2" not in new["nginx/nginx.conf"]


def test_nginx_is_asked_what_it_is() -> None:
    assert parse_nginx(DEBIAN).version == (1, 22, 1)
    assert "http_gzip_static_module" in parse_nginx(DEBIAN).has
    assert "http_geoip_module" not in parse_nginx(DEBIAN).has, "what is loaded later may not be there"
    check_nginx(parse_nginx(DEBIAN), tls=True)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("usage: something else", "usage: something else"),
        (DEBIAN.replace("1.22.1", "1.18.0"), "1.18.0"),
        (DEBIAN.replace("--with-http_realip_module", ""), "http_realip_module"),
        (DEBIAN.replace("--with-http_ssl_module", ""), "http_ssl_module"),
        (f"{DEBIAN} --without-http_limit_req_module", "limit_req"),
        (f"{DEBIAN} --without-http_upstream_zone_module", "zone"),
    ],
)
def test_an_nginx_that_cannot_do_it_is_named(said: str, names: str) -> None:
    with pytest.raises(UnusableNginx, match=re.escape(names)):
        check_nginx(parse_nginx(said), tls=True)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"certificate": "/etc/hostname"}, "edge.certificate_key is not given"),
    ({"certificate_key": "/etc/hostname"}, "edge.certificate is not given"),
    ({"certificate": "/nowhere.pem", "certificate_key": "/etc/hostname"}, "edge.certificate is /nowhere.pem"),
    ({"certificate": "cert.pem", "certificate_key": "/etc/hostname"}, "edge.certificate is 'cert.pem'"),
    ({"listen": "80"}, "edge.listen is '80'"),
    ({"listen": "0.0.0.0:99999"}, "edge.listen is '0.0.0.0:99999'"),
    ({"listen": "127.0.0.1:8000"}, "where the node listens"),
    ({"nodes": ["10.0.0.1:8000", "10.0.0.1:8000"]}, "edge.nodes holds 10.0.0.1:8000"),
    ({"nodes": ["10.0.0.1:8000"], "backup_nodes": ["10.0.0.1:8000"]}, "edge.backup_nodes holds 10.0.0.1:8000"),
    ({"nodes": ["0.0.0.0:80"]}, "where the edge itself listens"),
    ({"nodes": ["10.0.0.1"]}, "a node of edge.nodes is '10.0.0.1'"),
    ({"nodes": ["a b:80"]}, "'a b'"),
    ({"nodes": ["x;}server{:80"]}, "is no name of a host"),
    ({"server_names": ["a.example;"]}, "edge.server_names holds 'a.example;'"),
    ({"server_names": ["$host"]}, "edge.server_names holds '$host'"),
    ({"user": "root; daemon off"}, "edge.user is"),
    ({"workers": -1}, "edge.workers is -1"),
    ({"connections": 0}, "edge.connections is 0"),
    ({"log_dir": "log"}, "edge.log_dir is 'log'"),
    ({"cache_dir": "/tmp/a b"}, "edge.cache_dir is '/tmp/a b'"),
    ({"run_dir": "/run/$name"}, "edge.run_dir is '/run/$name'"),
]  # fmt: skip


@pytest.mark.parametrize(("edge", "says"), WRONG, ids=[says for _, says in WRONG])
def test_settings_that_contradict_each_other_are_named(edge: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        check_edge(made(edge=edge))
    assert says in str(raised.value)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        check_edge(made(edge={"workers": -1, "user": "?", "certificate": "/nowhere"}))
    assert len(str(raised.value).splitlines()) == 4
