"""What the doctor says beside a running server, and of a directory that is not there."""

from __future__ import annotations

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
