"""What the doctor says beside a running server, and of a directory that is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.acceptance.product import Server, campaign_toml, free_port, run_cli
from tests.servers import postgresql


def findings(report: Any) -> dict[str, Any]:
    return {check["name"]: check for check in report["checks"]}


def test_the_ports_of_a_running_server_are_in_order(server: Server) -> None:
    addresses = {
        "HEADGATE_LISTEN": f"127.0.0.1:{server.port}",
        "HEADGATE_CONSOLE__LISTEN": f"127.0.0.1:{server.console_port}",
    }
    ran = run_cli("doctor", "--json", data=server.data, settings=addresses)
    found = findings(ran.json())
    for name in ("port listen", "port console"):
        assert (found[name]["verdict"], "being served" in found[name]["found"]) == ("ok", True), ran


def test_a_directory_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    mistyped = tmp_path / "not" / "there"
    ports = {"HEADGATE_LISTEN": f"127.0.0.1:{free_port()}", "HEADGATE_CONSOLE__LISTEN": f"127.0.0.1:{free_port()}"}
    found = findings(run_cli("doctor", "--json", "--data", mistyped, settings=ports).json())
    assert found["data directory"]["verdict"] == "warning"
    assert str(mistyped) in found["data directory"]["found"]
    assert {"disk space", "disk commit"} <= set(found)
    assert list(tmp_path.iterdir()) == []


def test_how_long_a_commit_takes_on_a_server_is_measured(tmp_path: Path) -> None:
    with postgresql(tmp_path) as store:
        settings = {"HEADGATE_LEDGER__URL": store.url.replace("+psycopg", "")}
        data, campaign = tmp_path / "data", tmp_path / "masks.toml"
        campaign.write_text(campaign_toml("masks", (("central", 5),)))
        run_cli("campaign", "create", campaign, data=data, settings=settings).ok()
        found = findings(run_cli("doctor", "--json", data=data, settings=settings).json())["ledger"]
        assert found["verdict"] == "ok"
        assert re.fullmatch(r"whole, on postgresql [\d.]+, a commit takes [\d.]+ ms \(median of 10\)", found["found"])
        # The server waits before every sync, as a slow disk would.
        engine = sa.create_engine(store.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET commit_delay = 100000")
            connection.exec_driver_sql("ALTER SYSTEM SET commit_siblings = 0")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        engine.dispose()
        found = findings(run_cli("doctor", "--json", data=data, settings=settings).json())["ledger"]
        assert (found["verdict"], "the disk of its server" in found["advice"]) == ("warning", True), found


def test_what_serve_would_refuse_is_found_beforehand(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    key = data / "secret.key"
    with postgresql(tmp_path) as store:
        admin = sa.create_engine(store.url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            for statement in (
                "CREATE USER guest",
                "CREATE DATABASE east",
                "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            ):
                connection.exec_driver_sql(statement)
        url = store.url.replace("+psycopg", "")
        place = sa.make_url(url)

        def look(**settings: str) -> dict[str, Any]:
            ran = run_cli("doctor", "--json", data=data, settings=settings)
            assert "sekret" not in ran.out + ran.err
            found: dict[str, Any] = findings(json.loads(ran.out))
            return found

        found = look(HEADGATE_LEDGER__URL=url)
        assert re.fullmatch(r"there is none yet on postgresql [\d.]+", found["ledger"]["found"])
        assert (found["key"]["verdict"], "the first node makes" in found["key"]["found"]) == ("ok", True)
        guest = place.set(username="guest", password="sekret").render_as_string(hide_password=False)
        found = look(HEADGATE_LEDGER__URL=guest)
        assert (found["ledger"]["verdict"], "give the account 'guest'" in found["ledger"]["found"]) == ("failing", True)
        key.write_text("00" * 32)
        key.chmod(0o644)
        found = look(HEADGATE_LEDGER__URL=url)
        assert (found["key"]["verdict"], "chmod 600" in found["key"]["found"]) == ("failing", True)
        key.chmod(0o600)
        campaign = tmp_path / "masks.toml"
        campaign.write_text(campaign_toml("masks", (("central", 5),)))
        run_cli("campaign", "create", campaign, data=data, settings={"HEADGATE_LEDGER__URL": url}).ok()
        shards = {"HEADGATE_LEDGER__URL": url, "HEADGATE_SHARDS__EAST__URL": url.replace("127.0.0.1", "localhost")}
        found = look(**shards)
        assert (found["ledgers"]["verdict"], "the same ledger" in found["ledgers"]["found"]) == ("failing", True)
        shards["HEADGATE_SHARDS__EAST__URL"] = place.set(database="east").render_as_string(hide_password=False)
        assert look(**shards)["ledgers"]["verdict"] == "ok"
        with admin.connect() as connection:
            connection.exec_driver_sql("ALTER DATABASE east SET default_transaction_read_only = on")
        east = look(**shards)["ledger east"]
        assert (east["verdict"], east["advice"]) == ("failing", "its campaigns cannot be served")
        admin.dispose()
