"""What the doctor says beside a running server, and of a directory that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.acceptance.product import Server, free_port, run_cli


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
