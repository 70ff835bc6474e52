"""Campaign files and pool lists, good and broken: a broken one is named, and leaves nothing half-created."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.client import Api, confirmed
from tests.acceptance.ledger import Ledger
from tests.acceptance.product import Ran, campaign_toml, create_campaign, run_cli, run_side_by_side, served
from tests.shared_data import PHARMACY_COLUMNS, pharmacy_list

GOOD = campaign_toml("broken", (("central", 5), ("west", 5)))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one campaign that must stay the only one."""
    data = tmp_path_factory.mktemp("kept") / "data"
    create_campaign(data, "kept", (("central", 7),))
    return data


def nothing_new(data: Path) -> None:
    assert Ledger(data).campaigns() == ["kept"], "a broken file left a campaign behind"
    assert Ledger(data).pool_count() == 1, "a broken file left pools behind"


def without(name: str) -> str:
    return re.sub(rf"(?m)^{name} = .*\n", "", GOOD)


def changed(name: str, value: str) -> str:
    """The good file with every `name = …` line saying `value` instead."""
    return re.sub(rf"(?m)^{name} = .*$", lambda _: f"{name} = {value}", GOOD)


def pools_cut() -> str:
    return GOOD[: GOOD.index("[[pools]]")]


BROKEN: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "bad TOML": (GOOD + "\nslug = \n", ("line",)),
    "not text": (b"\xff\xfe\x00slug\x00" * 20, ()),
    "NUL bytes": (GOOD.encode() + b"\x00", ()),
    "empty": ("", ("slug",)),
    "no slug": (without("slug"), ("slug",)),
    "no title": (without("title"), ("title",)),
    "no opens_at": (without("opens_at"), ("opens_at",)),
    "no closes_at": (without("closes_at"), ("closes_at",)),
    "no pools": (pools_cut(), ("pools",)),
    "pool without id": (without("id"), ("id",)),
    "pool without units": (without("units"), ("units",)),
    "slug a number": (changed("slug", "5"), ("slug",)),
    "slug empty": (changed("slug", '""'), ("slug",)),
    "slug with a slash": (changed("slug", '"a/../b"'), ("a/../b",)),
    "slug with a space": (changed("slug", '"free masks"'), ("free masks",)),
    "slug too long": (changed("slug", '"' + "x" * 5000 + '"'), ("slug",)),
    "kind unknown": (changed("kind", '"auction"'), ("auction",)),
    "title a number": (changed("title", "5"), ("title",)),
    "title empty": (changed("title", "{}"), ("title",)),
    "opens_at a string": (changed("opens_at", '"tomorrow"'), ("opens_at",)),
    "opens_at without zone": (changed("opens_at", "2026-12-01T09:00:00"), ("opens_at",)),
    "opens_at a day": (changed("opens_at", "2026-12-01"), ("opens_at",)),
    "opens_at no such day": (changed("opens_at", "2026-02-31T09:00:00+08:00"), ()),
    "closes before it opens": (changed("closes_at", "1999-12-31T23:00:00+08:00"), ("1999",)),
    "closes when it opens": (
        re.sub(r"(?m)^(opens_at|closes_at) = .*$", r"\1 = 2031-05-05T09:00:00+08:00", GOOD), ("closes_at",),
    ),
    "per_person 0": (changed("per_person", "0"), ("per_person",)),
    "per_person negative": (changed("per_person", "-1"), ("per_person", "-1")),
    "per_person a string": (changed("per_person", '"one"'), ("per_person",)),
    "per_person huge": (changed("per_person", "99999999999999999999999"), ("per_person",)),
    "rehearsal a string": (changed("rehearsal", '"yes"'), ("rehearsal",)),
    "verification unknown": (changed("verification", '"retina"'), ("retina",)),
    "mode unknown": (changed("mode", '"later"'), ("mode", "later", "queued")),
    "mode true": (changed("mode", "true"), ("mode",)),
    "unknown member": (GOOD.replace("kind =", "colour = 'red'\nkind ="), ("colour",)),
    "unknown member of a pool": (GOOD + "shelf = 3\n", ("shelf",)),
    "units negative": (changed("units", "-3"), ("units", "-3")),
    "units a fraction": (changed("units", "1.5"), ("units",)),
    "units a string": (changed("units", '"5"'), ("units",)),
    "units huge": (changed("units", "9223372036854775808"), ("units",)),
    "units not a number": (changed("units", "nan"), ("units",)),
    "units true": (changed("units", "true"), ("units",)),
    "duplicate pools": (changed("id", '"twice"'), ("twice",)),
    "pool id empty": (changed("id", '""'), ("id",)),
    "pools no list": (pools_cut() + "pools = 5\n", ("pools",)),
    "duplicate slug": (GOOD.replace('"broken"', '"kept"'), ("kept",)),
}  # fmt: skip


@pytest.fixture(scope="module")
def refused_files(kept: Path) -> dict[str, Ran]:
    calls: dict[str, tuple[str | Path, ...]] = {}
    for number, (name, (content, _)) in enumerate(BROKEN.items()):
        file = kept.parent / f"broken-{number}.toml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        calls[name] = ("campaign", "create", file)
    return run_side_by_side(calls, kept)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_campaign_file_is_refused_whole(refused_files: dict[str, Ran], kept: Path, name: str) -> None:
    refused_files[name].failed(*BROKEN[name][1])
    nothing_new(kept)


def test_a_campaign_file_that_is_absent_or_a_folder_is_named(kept: Path) -> None:
    run_cli("campaign", "create", kept.parent / "absent.toml", data=kept).failed("absent.toml")
    run_cli("campaign", "create", kept.parent, data=kept).failed(kept.parent.name)
    nothing_new(kept)


HEADER = "code,name,units\n"
BROKEN_LISTS: dict[str, tuple[bytes, int, str]] = {
    "missing column": (b"code,name,stock\na,Shop A,5\n", 0, "units"),
    "units not a number": (f"{HEADER}a,Shop A,5\nb,Shop B,many\n".encode(), 3, "many"),
    "units a fraction": (f"{HEADER}a,Shop A,5\nb,Shop B,2.5\n".encode(), 3, "2.5"),
    "units negative": (f"{HEADER}a,Shop A,5\nb,Shop B,-2\n".encode(), 3, "-2"),
    "units empty": (f"{HEADER}a,Shop A,5\nb,Shop B,\n".encode(), 3, ""),
    "units huge": (f"{HEADER}a,Shop A,5\nb,Shop B,99999999999999999999\n".encode(), 3, "99999999999999999999"),
    "units with underscore": (f"{HEADER}a,Shop A,5\nb,Shop B,1_000\n".encode(), 3, "1_000"),
    "duplicate id": (f"{HEADER}a,Shop A,5\nb,Shop B,5\na,Shop C,5\n".encode(), 4, "a"),
    "id empty": (f"{HEADER}a,Shop A,5\n,Shop B,5\n".encode(), 3, ""),
    "wrong encoding": (HEADER.encode() + "a,藥局,5\n".encode("big5"), 0, ""),
    "UTF-16": (f"{HEADER}a,Shop A,5\n".encode("utf-16"), 0, ""),
    "empty": (b"", 0, "empty"),
    "semicolons": (b"code;name;units\na;Shop A;5\n", 1, "';'"),
    "tabs": (b"code\tname\tunits\na\tShop A\t5\n", 1, "commas"),
    "header only": (HEADER.encode(), 0, ""),
    "short row": (f"{HEADER}a,Shop A,5\nb,Shop B\n".encode(), 3, ""),
    "NUL bytes": (f"{HEADER}a,Shop A,5\nb,Sh\x00op,5\n".encode(), 3, ""),
    "error after 500 good rows": (
        (HEADER + "".join(f"p{i},Shop {i},{i}\n" for i in range(500)) + "last,Shop,none\n").encode(), 502, "none",
    ),
    "a row over two lines before the error": (f'{HEADER}a,"Shop\nA",5\nb,Shop B,none\n'.encode(), 4, "none"),
}  # fmt: skip


def from_list(folder: Path, content: bytes, *columns: str, slug: str = "listed") -> tuple[str | Path, ...]:
    """Write a campaign file and its pool list into a new folder; the call that creates the campaign."""
    folder.mkdir()
    file, pools = folder / "listed.toml", folder / "pools.csv"
    file.write_text(campaign_toml(slug, ()), encoding="utf-8")
    pools.write_bytes(content)
    names = columns or ("--id-column", "code", "--label-column", "name", "--units-column", "units")
    return "campaign", "create", file, "--pools", pools, *names


@pytest.fixture(scope="module")
def refused_lists(kept: Path) -> dict[str, Ran]:
    contents = {name: content for name, (content, _, _) in BROKEN_LISTS.items()}
    folders = {name: kept.parent / f"list-{chr(97 + n)}" for n, name in enumerate(contents)}
    return run_side_by_side({name: from_list(folders[name], content) for name, content in contents.items()}, kept)


@pytest.mark.parametrize("name", BROKEN_LISTS)
def test_a_broken_pool_list_is_refused_whole(refused_lists: dict[str, Ran], kept: Path, name: str) -> None:
    _, line, value = BROKEN_LISTS[name]
    ran = refused_lists[name].failed("pools.csv", *([value] if value else []))
    message = ran.err.replace(str(kept.parent), "")
    assert not line or re.search(rf"(?<![\w.-]){line}(?![\w.])", message), f"line {line} is not named\n{ran}"
    nothing_new(kept)


def test_a_pool_list_that_is_absent_is_named(kept: Path) -> None:
    file = kept.parent / "listed.toml"
    file.write_text(campaign_toml("listed", ()), encoding="utf-8")
    run_cli("campaign", "create", file, "--pools", kept.parent / "absent.csv", *PHARMACY_COLUMNS, data=kept).failed(
        "absent.csv"
    )
    nothing_new(kept)


@pytest.mark.parametrize("option", ["--id-column", "--label-column", "--units-column"])
def test_a_column_that_the_pool_list_lacks_is_named(kept: Path, option: str) -> None:
    columns = {"--id-column": "code", "--label-column": "name", "--units-column": "units"} | {option: "nowhere"}
    words = [word for pair in columns.items() for word in pair]
    call = from_list(kept.parent / f"lacks{option}", f"{HEADER}a,Shop A,5\n".encode(), *words)
    run_cli(*call, data=kept).failed("pools.csv", "'nowhere'", "'code', 'name', 'units'")
    nothing_new(kept)


@pytest.mark.parametrize("option", ["--id-column", "--label-column", "--units-column"])
def test_a_column_without_a_list_is_refused(kept: Path, option: str) -> None:
    file = kept.parent / "alone.toml"
    file.write_text(campaign_toml("alone"), encoding="utf-8")
    run_cli("campaign", "create", file, option, "code", data=kept).failed("--pools")
    nothing_new(kept)


def test_pools_come_from_the_campaign_file_or_from_a_list_and_not_from_both(kept: Path) -> None:
    *call, file, option, pools = from_list(kept.parent / "both", f"{HEADER}a,Shop A,5\n".encode())[:5]
    Path(file).write_text(campaign_toml("listed"), encoding="utf-8")
    columns = ("--id-column", "code", "--label-column", "name", "--units-column", "units")
    run_cli(*call, file, option, pools, *columns, data=kept).failed("[[pools]]", "--pools", "pools.csv")
    nothing_new(kept)


def test_after_every_refusal_the_list_is_what_it_was(kept: Path) -> None:
    listed = run_cli("campaign", "list", data=kept).ok()
    assert "kept" in listed.out, listed
    assert not [slug for slug in ("broken", "listed") if slug in listed.out], listed
    audit = run_cli("audit", "kept", "--json", data=kept).json()
    assert audit["capacity"] == 7
    assert audit["ok"] is True


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbfcode,name,units\r\na,Shop A,5\r\nb,"Shop, B",0\r\n',
        b"name,units,code,more\nShop A,5,a,x\nShop B,0,b,y",
    ],
    ids=["BOM, CRLF, quoted, zero", "other order, no last line end"],
)
def test_a_good_pool_list_is_taken(data: Path, content: bytes) -> None:
    run_cli(*from_list(data.parent / "good", content), data=data).ok()
    assert {p.code: p.capacity for p in Ledger(data).check("listed").values()} == {"a": 5, "b": 0}


def test_the_published_list_of_6588_pharmacies(data: Path) -> None:
    call = from_list(data.parent / "list", pharmacy_list().read_bytes(), *PHARMACY_COLUMNS, slug="pharmacies")
    run_cli(*call, data=data).ok()
    pools = Ledger(data).check("pharmacies")
    assert len(pools) == 6588
    assert sum(p.capacity for p in pools.values()) == 2_721_457
    assert pools["0145080011"].capacity == 2413, "the leading zero of an id or its stock was lost"
    with served(data) as server, Api(server.url) as api:
        state = api.state("pharmacies")
        shown = {pool["id"]: pool for pool in state["pools"]}
        assert len(shown) == 6588, f"the public state shows {len(shown)} of 6588 pools"
        assert "衛生福利部花蓮醫院豐濱原住民分院" in str(shown["0145080011"]["label"])
        claim = confirmed(api.claim("pharmacies", api.session(), "0145080011"))
        assert claim["pool"] == "0145080011"
        assert api.request("GET", "/c/pharmacies").status_code == 200
    assert Ledger(data).check("pharmacies")["0145080011"].remaining == 2412
