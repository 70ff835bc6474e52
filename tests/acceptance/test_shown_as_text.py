"""What operators wrote is shown to everybody: as text, never as markup."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

from tests.acceptance.client import Api
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import campaign_toml, create_campaign, eventually, run_cli, served


class _Tags(HTMLParser):
    """What a browser would run: script elements and event handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.handlers, self.foreign = 0, list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.foreign += [tag] if tag in ("iframe", "object", "embed", "base", "marquee", "plaintext") else []


def tags(page: str) -> _Tags:
    parser = _Tags()
    parser.feed(page)
    return parser


def test_naughty_titles_and_labels_are_shown_as_text(tmp_path: Path, naughty_strings: list[str]) -> None:
    labels = [text for text in naughty_strings if text.strip() and text.isprintable() and len(text) <= 100]
    assert len(labels) > 300
    data = tmp_path / "data"
    lines = [campaign_toml("naughty", ()).replace("Free masks", "<script>alert(1)</script>")]
    for n, label in enumerate(labels):
        lines.append(f'[[pools]]\nid = "p{n}"\nlabel = {{ en = {json.dumps(label, ensure_ascii=False)} }}\nunits = 5\n')
    (tmp_path / "naughty.toml").write_text("\n".join(lines), encoding="utf-8")
    run_cli("campaign", "create", tmp_path / "naughty.toml", data=data).ok()
    create_campaign(data, "plain", tuple((f"p{n}", 5) for n in range(len(labels))))
    with served(data) as server, Api(server.url) as api:
        eventually("open", lambda: api.phase("naughty") == "open")
        shown = {pool["id"]: pool["label"] for pool in api.state("naughty")["pools"]}
        assert all(
            labels[int(code[1:])] in (label, *(label.values() if isinstance(label, dict) else ()))
            for code, label in shown.items()
        )
        naughty, plain = (tags(api.request("GET", f"/c/{slug}").text) for slug in ("naughty", "plain"))
        assert naughty.scripts == plain.scripts, "a label became a script"
        assert not naughty.handlers, naughty.handlers
        assert not naughty.foreign, naughty.foreign
    assert len(Ledger(data).pools("naughty")) == len(labels)


def test_naughty_strings_in_a_pool_list_never_break_the_command(tmp_path: Path, naughty_strings: list[str]) -> None:
    """Those that no label may be are refused with their line; the rest is created."""
    file, pools, data = tmp_path / "c.toml", tmp_path / "pools.csv", tmp_path / "data"
    file.write_text(campaign_toml("csv-naughty", ()), encoding="utf-8")
    with pools.open("w", encoding="utf-8", errors="surrogatepass", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["code", "name", "units"])
        writer.writerows([f"p{n}", text, 3] for n, text in enumerate(naughty_strings))
    columns = ("--id-column", "code", "--label-column", "name", "--units-column", "units")
    ran = run_cli("campaign", "create", file, "--pools", pools, *columns, data=data)
    if ran.code:
        ran.failed("pools.csv")
        assert Ledger(data).campaigns() == []
    else:
        assert len(Ledger(data).pools("csv-naughty")) == 515
