"""`gate.url`, and servers that cannot be a gate: what is wrong, where, and what to do, without the password."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from headgate.ports.gate import GateAway, GateUnusable
from headgate.storage.redis import examination
from headgate.storage.redis.address import BadGateUrl, parse
from headgate.storage.redis.examination import examine
from tests.servers import Server, ValkeyCluster, free_port, valkey


@pytest.mark.parametrize(
    ("url", "hosts", "database", "service", "tls"),
    [
        ("redis://h", (("h", 6379),), 0, "", False),
        ("rediss://u:p%40@h:1/2", (("h", 1),), 2, "", True),
        ("redis://[::1]:6380", (("::1", 6380),), 0, "", False),
        ("redis+cluster://a:1,b:2,c", (("a", 1), ("b", 2), ("c", 6379)), 0, "", False),
        ("redis+sentinel://a,b:1/mymaster/3", (("a", 26379), ("b", 1)), 3, "mymaster", False),
        ("rediss+cluster://:secret@a", (("a", 6379),), 0, "", True),
    ],
)
def test_what_a_url_says(url: str, hosts: tuple[tuple[str, int], ...], database: int, service: str, tls: bool) -> None:
    address = parse(url)
    assert (address.hosts, address.database, address.service, address.tls) == (hosts, database, service, tls)


def test_names_and_passwords_may_hold_any_character_and_are_not_shown() -> None:
    address = parse("redis://us%3Aer:p%40ss%2Fword@h")
    assert (address.username, address.password) == ("us:er", "p@ss/word")
    assert "word" not in str(address)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memcached://h", "scheme 'memcached'"),
        ("redis:", "begins with no scheme"),
        ("::sekret::", "begins with no scheme"),
        ("memory://", "write memory: alone"),
        ("redis://u:a/sekret@h", "write / as %2F"),
        ("redis://u:a?sekret@h", "write / as %2F"),
        ("redis://", "names no host"),
        ("redis://u:sekret@h:port", "whose port is no number"),
        ("redis://h:99999", "whose port is no number"),
        ("redis://a,b", "several hosts"),
        ("redis://h/x", "no number of a database"),
        ("redis+cluster://h/1", "no number of a database"),
        ("redis+sentinel://h", "names no service"),
        ("redis://h/1/2", "no number of a database"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url: str, said: str) -> None:
    with pytest.raises(BadGateUrl, match=said) as found:
        parse(url)
    assert "sekret" not in str(found.value)


def test_a_server_that_will_do_is_named_with_its_speed(valkey_server: Server) -> None:
    assert "a call takes" in examine(parse(valkey_server.url))
    client = redis.Redis.from_url(valkey_server.url)
    assert client.keys("headgate:probe*") == [], "nothing is left behind"


def test_a_cluster_that_will_do(valkey_cluster_servers: ValkeyCluster) -> None:
    assert "valkey" in examine(parse(valkey_cluster_servers.url))


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(GateAway, match="look whether the server runs"):
        examine(parse(f"redis://:sekret@127.0.0.1:{free_port()}"))


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(GateAway, match=r"nowhere\.invalid"):
        examine(parse("redis://nowhere.invalid"))


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:wrong@"])
def test_a_server_that_lets_nobody_in(tmp_path: Path, login: str) -> None:
    with valkey(tmp_path, "--requirepass", "right") as server:
        place = server.url.removeprefix("redis://")
        with pytest.raises(GateUnusable, match="look at name and password") as found:
            examine(parse(f"redis://{login}{place}"))
        assert not isinstance(found.value, GateAway)
        assert "wrong" not in str(found.value).replace("WRONGPASS", "")
        assert "a call takes" in examine(parse(f"redis://:right@{place}"))


def test_a_user_that_may_not_do_what_is_needed(valkey_server: Server) -> None:
    client = redis.Redis.from_url(valkey_server.url)
    client.execute_command("ACL", "SETUSER", "guest", "on", ">guest", "~other:*", "+@all")
    try:
        with pytest.raises(GateUnusable, match=r"its user needs the keys headgate:\*"):
            examine(parse(valkey_server.url.replace("redis://", "redis://guest:guest@")))
    finally:
        client.execute_command("ACL", "DELUSER", "guest")


def test_a_replica(tmp_path: Path, valkey_server: Server) -> None:
    place = valkey_server.url.removeprefix("redis://").split(":")
    with (
        valkey(tmp_path, "--replicaof", *place) as replica,
        pytest.raises(GateAway, match="takes no writes, it may be a replica"),
    ):
        examine(parse(replica.url))


def test_a_node_of_a_cluster_that_was_named_as_a_server(valkey_cluster_servers: ValkeyCluster) -> None:
    with pytest.raises(GateUnusable, match=r"write redis\+cluster://"):
        examine(parse(valkey_cluster_servers.primaries[0].url))


def test_a_server_that_was_named_as_a_cluster(valkey_server: Server) -> None:
    with pytest.raises(GateUnusable, match="cannot be used"):
        examine(parse(valkey_server.url.replace("redis://", "redis+cluster://")))


def test_a_server_that_is_too_old(valkey_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "VERSION_WANTED", (99,))
    with pytest.raises(GateUnusable, match="at least 99 is needed, upgrade the server"):
        examine(parse(valkey_server.url))


@pytest.mark.parametrize(
    ("scheme", "path", "said"),
    [("redis", "/99", "leave the number out of gate.url"), ("redis+cluster", "", "it is no cluster; write redis://")],
)
def test_what_stays_as_it_is_is_not_waited_for(valkey_server: Server, scheme: str, path: str, said: str) -> None:
    with pytest.raises(GateUnusable, match=said) as found:
        examine(parse(valkey_server.url.replace("redis", scheme) + path))
    assert not isinstance(found.value, GateAway)


def test_a_server_without_tls_is_shown_as_it_was_asked(valkey_server: Server) -> None:
    with pytest.raises(GateAway, match=r"rediss://.* look whether the server runs and speaks TLS there"):
        examine(parse(valkey_server.url.replace("redis", "rediss")))
