"""The command line: what each command does, prints and exits with, with and without a running server."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.client import Api, confirmed, refused
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import (
    Ran,
    Server,
    campaign_toml,
    create_campaign,
    damage_ledger,
    eventually,
    free_port,
    rehearsal_tokens,
    run_cli,
    run_side_by_side,
    served,
)
from tests.spreadsheets import sheets

COMMANDS = [
    "serve", "campaign create", "campaign list", "campaign show", "campaign pause", "campaign resume", "campaign close",
    "campaign topup", "campaign results", "audit", "rehearsal tokens", "doctor",
]  # fmt: skip
AUDIT_MEMBERS = {"capacity", "confirmed", "held", "cancelled", "available", "duplicates", "oversold", "ok"}


@pytest.fixture(scope="module")
def sold(server: Server, api: Api) -> dict[str, Any]:
    """A campaign of two pools (5 and 3 units) in which three people claimed and one of them cancelled."""
    slug = create_campaign(server.data, "sold", (("north", 5), ("south", 3)))
    eventually("the new campaign is open", lambda: api.phase(slug) == "open")
    people = [api.session() for _ in range(3)]
    claims = [
        confirmed(api.claim(slug, person, pool))
        for person, pool in zip(people, ("north", "north", "south"), strict=True)
    ]
    assert api.cancel(slug, people[1], claims[1]["id"]).status_code == 200
    return {"slug": slug, "claims": claims}


WRONG_USAGE = [
    "no-such-command",
    "campaign no-such-command",
    "campaign create",
    "campaign show",
    "campaign topup slug pool",
    "campaign list --no-such-option",
    "campaign topup slug pool many",
    "campaign results slug --format pdf",
    "audit",
    "rehearsal tokens slug --count many --out x",
    "serve --workers many",
    "serve --plane no-such-plane",
]
UNKNOWN_SLUG = [
    "campaign show nowhere",
    "campaign pause nowhere",
    "campaign resume nowhere",
    "campaign close nowhere",
    "campaign topup nowhere central 5",
    "campaign results nowhere --format csv",
    "audit nowhere --json",
    "rehearsal tokens nowhere --count 3 --out tokens.txt",
]


@pytest.fixture(scope="module")
def said(idle: Path) -> dict[str, Ran]:
    """What the command says to each line of the three lists above, in one data directory."""
    lines = [f"{command} --help" for command in COMMANDS] + ["--help"] + WRONG_USAGE + UNKNOWN_SLUG
    return run_side_by_side({line: tuple(line.split()) for line in lines}, idle)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(said: dict[str, Ran], command: str) -> None:
    ran = said[f"{command} --help"].ok()
    assert re.search(r"(?i)\bexamples?\b", ran.out), f"no example in the help\n{ran}"
    uses = re.findall(rf"headgate {command} +(?!COMMAND|\[)\S*[a-z0-9]\S*", ran.out)
    assert uses, f"the example does not show a call of `headgate {command} …`\n{ran}"


def test_help_of_the_whole_lists_the_commands(said: dict[str, Ran]) -> None:
    ran = said["--help"].ok()
    for word in ("serve", "campaign", "audit", "rehearsal", "doctor"):
        assert word in ran.out, f"{word} is missing\n{ran}"


@pytest.mark.parametrize("line", WRONG_USAGE)
def test_wrong_usage_exits_2(said: dict[str, Ran], line: str) -> None:
    said[line].failed(codes=(2,))


@pytest.mark.parametrize("line", UNKNOWN_SLUG)
def test_an_unknown_slug_exits_1_and_is_named(said: dict[str, Ran], line: str) -> None:
    said[line].failed("nowhere", codes=(1,))


def test_create_list_show_without_a_server(data: Path) -> None:
    file = data.parent / "masks.toml"
    file.write_text(campaign_toml("masks", (("central", 500), ("west", 20))), encoding="utf-8")
    created = run_cli("campaign", "create", file, data=data).ok()
    assert created.out.strip().splitlines()[-1].split()[-1] == "masks", f"create prints the slug\n{created}"
    listed = run_cli("campaign", "list", data=data).ok()
    assert "masks" in listed.out, f"the list lacks the new campaign\n{listed}"
    shown = run_cli("campaign", "show", "masks", data=data).ok()
    for word in ("masks", "first_come", "central", "500", "west", "20"):
        assert word in shown.out, f"show lacks {word!r}\n{shown}"
    pools = Ledger(data).check("masks")
    assert {p.code: (p.capacity, p.remaining) for p in pools.values()} == {"central": (500, 500), "west": (20, 20)}


def test_list_and_show_speak_json(idle: Path) -> None:
    listed = run_cli("campaign", "list", "--json", data=idle).json()
    assert "masks" in json.dumps(listed)
    shown = run_cli("campaign", "show", "masks", "--json", data=idle).json()
    assert (shown["slug"], shown["kind"]) == ("masks", "first_come"), shown


def test_an_empty_list_is_no_failure(data: Path) -> None:
    run_cli("campaign", "list", data=data).ok()


def test_a_server_started_later_serves_what_was_created_before(data: Path) -> None:
    create_campaign(data, "early")
    with served(data) as server, Api(server.url) as api:
        assert api.state("early")["phase"] == "open"
        confirmed(api.claim("early", api.session()))


def test_pause_resume_and_close_reach_a_running_server(server: Server, api: Api) -> None:
    slug = create_campaign(server.data, "steered")
    person = api.session()
    eventually("the new campaign is open", lambda: api.phase(slug) == "open")
    run_cli("campaign", "pause", slug, data=server.data).ok()
    eventually("phase paused", lambda: api.phase(slug) == "paused")
    refused(api.claim(slug, person), 409, "paused")
    run_cli("campaign", "resume", slug, data=server.data).ok()
    eventually("phase open again", lambda: api.phase(slug) == "open")
    confirmed(api.claim(slug, person))
    run_cli("campaign", "close", slug, data=server.data).ok()
    eventually("phase closed", lambda: api.phase(slug) == "closed")
    refused(api.claim(slug, api.session()), 409, "closed")


def test_pause_resume_and_close_without_a_server(data: Path) -> None:
    create_campaign(data, "masks")
    for command in ("pause", "resume", "close"):
        run_cli("campaign", command, "masks", data=data).ok()
    run_cli("campaign", "resume", "masks", data=data).failed("masks", codes=(1,))


def test_topup_raises_capacity_and_reopens_a_sold_out_pool(server: Server, api: Api, ledger: Ledger) -> None:
    slug = create_campaign(server.data, "small", (("central", 1),))
    eventually("the new campaign is open", lambda: api.phase(slug) == "open")
    confirmed(api.claim(slug, api.session()))
    late = api.session()
    refused(api.claim(slug, late), 409, "sold_out")
    run_cli("campaign", "topup", slug, "central", "2", data=server.data).ok()
    pool = ledger.check(slug)["central"]
    assert (pool.capacity, pool.remaining) == (3, 2)
    eventually("a topped-up pool sells again", lambda: api.claim(slug, late).status_code == 201)


@pytest.mark.parametrize("units", ["0", "-1", "1.5", "99999999999999999999999"])
def test_topup_refuses_what_is_no_amount(idle: Path, units: str) -> None:
    before = Ledger(idle).check("masks")
    run_cli("campaign", "topup", "masks", "central", units, data=idle).failed(units)
    assert Ledger(idle).check("masks") == before


def test_topup_of_a_campaign_that_is_over_is_refused(data: Path) -> None:
    create_campaign(data, "masks")
    run_cli("campaign", "close", "masks", data=data).ok()
    before = Ledger(data).check("masks")
    run_cli("campaign", "topup", "masks", "central", "5", data=data).failed("masks", "closed", codes=(1,))
    assert Ledger(data).check("masks") == before


def test_topup_names_an_unknown_pool(idle: Path) -> None:
    run_cli("campaign", "topup", "masks", "elsewhere", "5", data=idle).failed("elsewhere", codes=(1,))


def test_results_as_csv(server: Server, sold: dict[str, Any]) -> None:
    ran = run_cli("campaign", "results", sold["slug"], "--format", "csv", data=server.data).ok()
    rows = list(csv.DictReader(io.StringIO(ran.out.lstrip("\ufeff"))))
    assert len(rows) >= 2, f"one row each\n{ran}"
    _results_name_the_claims([list(row.values()) for row in rows], sold)


def test_results_as_json(server: Server, sold: dict[str, Any]) -> None:
    body = run_cli("campaign", "results", sold["slug"], "--format", "json", data=server.data).json()
    rows = body if isinstance(body, list) else next(value for value in body.values() if isinstance(value, list))
    _results_name_the_claims([[str(v) for v in row.values()] for row in rows], sold)


def test_results_as_xlsx(server: Server, sold: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "results.xlsx"
    run_cli("campaign", "results", sold["slug"], "--format", "xlsx", "--out", out, data=server.data).ok()
    (sheet,) = sheets(out.read_bytes())
    _results_name_the_claims([[str(cell) for cell in row] for row in sheet[1:]], sold)


def _results_name_the_claims(rows: list[list[str]], sold: dict[str, Any]) -> None:
    """One row for each of the three claims, the cancelled one marked or left out."""
    first, cancelled, third = (claim["id"] for claim in sold["claims"])
    for claim_id in (first, third):
        assert sum(claim_id in row for row in rows) == 1, f"claim {claim_id} is not exactly one row of {rows}"
    for row in rows:
        assert cancelled not in row or "cancelled" in row, f"a cancelled claim looks valid: {row}"


def test_results_to_a_file_and_to_a_place_that_is_none(server: Server, sold: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    run_cli("campaign", "results", sold["slug"], "--format", "csv", "--out", out, data=server.data).ok()
    assert sold["claims"][0]["id"] in out.read_text(encoding="utf-8-sig")
    nowhere = tmp_path / "no-such-folder" / "results.csv"
    run_cli("campaign", "results", sold["slug"], "--format", "csv", "--out", nowhere, data=server.data).failed(
        "no-such-folder", codes=(1,)
    )


def test_audit_agrees_with_an_independent_count(server: Server, sold: dict[str, Any], ledger: Ledger) -> None:
    audit = run_cli("audit", sold["slug"], "--json", data=server.data).json()
    assert set(audit) >= AUDIT_MEMBERS, f"missing {AUDIT_MEMBERS - set(audit)}"
    pools = ledger.check(sold["slug"])
    assert audit["ok"] is True
    assert audit["capacity"] == sum(p.capacity for p in pools.values()) == 8
    assert audit["available"] == sum(p.remaining for p in pools.values()) == 6
    assert (audit["confirmed"], audit["cancelled"], audit["held"]) == (2, 1, 0)
    assert not audit["duplicates"], audit
    assert not audit["oversold"], audit


def test_audit_finds_planted_damage_and_exits_1(data: Path) -> None:
    create_campaign(data, "masks", (("central", 5),))
    run_cli("audit", "masks", data=data).ok()
    with closing(sqlite3.connect(data / "ledger.db")) as db:
        db.execute("UPDATE pool SET remaining = remaining - 1")
        db.commit()
    ran = run_cli("audit", "masks", "--json", data=data)
    assert ran.code == 1, f"a unit vanished and the audit did not notice\n{ran}"
    assert json.loads(ran.out)["ok"] is False, ran


def test_rehearsal_tokens_are_for_rehearsals_only(idle: Path) -> None:
    out = idle.parent / "real.txt"
    run_cli("rehearsal", "tokens", "masks", "--count", "3", "--out", out, data=idle).failed("masks", codes=(1,))
    assert not out.exists(), "tokens of a real campaign were written"
    tokens = rehearsal_tokens(idle, "practice", 250)
    assert len(set(tokens)) == 250, "tokens repeat"


@pytest.mark.parametrize("count", ["0", "-5"])
def test_rehearsal_tokens_refuse_a_senseless_count(idle: Path, count: str) -> None:
    run_cli("rehearsal", "tokens", "practice", "--count", count, "--out", idle.parent / "t", data=idle).failed(count)


def test_doctor_reports_as_json_and_measures_the_disk(idle: Path) -> None:
    ports = {"HEADGATE_LISTEN": f"127.0.0.1:{free_port()}", "HEADGATE_CONSOLE__LISTEN": f"127.0.0.1:{free_port()}"}
    ran = run_cli("doctor", "--json", data=idle, settings=ports)
    report = json.loads(ran.out)
    checks = {check["name"]: check for check in report["checks"]}
    assert {name: check for name, check in checks.items() if check["verdict"] == "failing"} == {}
    assert (ran.code, report["ok"]) == (0, True), ran
    assert re.search(r"\d ms", checks["disk commit"]["found"]), "the commit latency of the disk is not measured"


def test_doctor_fails_where_a_port_is_taken(idle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = run_cli("doctor", "--json", data=idle, settings={"HEADGATE_LISTEN": address})
    report = json.loads(ran.out)
    (listen,) = (check for check in report["checks"] if check["name"] == "port listen")
    assert listen["verdict"] == "failing"
    assert address in listen["found"]
    assert (ran.code, report["ok"]) == (1, False), ran


def test_doctor_fails_where_the_ledger_cannot_be_used(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "ledger.db").write_bytes(b"this is no database\n" * 500)
    ran = run_cli("doctor", "--json", data=data)
    assert ran.code == 1, f"doctor is content with a ledger that is no database\n{ran}"


def test_a_damaged_ledger_is_refused_at_start_with_the_place_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    create_campaign(data, "masks")
    damage_ledger(data)
    said = Server(data).must_not_start()
    assert "ledger.db" in said, f"the damaged file is not named\n{said[-2000:]}"
    run_cli("audit", "masks", data=data).failed("ledger.db", codes=(1,))


def test_a_second_server_on_the_same_port_says_so(server: Server, tmp_path: Path) -> None:
    said = Server(tmp_path / "data", port=server.port).must_not_start()
    assert str(server.port) in said, f"the port in use is not named\n{said[-2000:]}"
