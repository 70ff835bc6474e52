"""The reference pages say what the program has: nothing is missing, and nothing is on a page only."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args, get_origin

import msgspec
import pytest
from cyclopts import App

import headgate
from headgate.cli import app
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.domain.outcome import Outcome, Refusal
from headgate.http.problem import STATUS, STATUS_OF_REASON
from headgate.ports.telemetry import METRICS
from headgate.services.definitions import read_definition
from headgate.settings import PREFIX, Settings
from headgate.storage.sql.schema import METADATA
from scripts import lifecycle_docs

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOCS_PATH = re.compile(r"(?<![\w/])docs/[\w./-]+\.md")
HEADING = re.compile(r"^(?P<level>#+) (?P<text>.+)$", re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows whose first cell is `code`, that code without its marks."""
    table = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")
    ]
    return [[cells[0].strip("` "), *cells[1:]] for cells in table]


def names(text: str) -> list[str]:
    return [cells[0] for cells in rows(text)]


def sections(text: str) -> dict[str, str]:
    """The text below each second-level heading, by heading; what comes before the first under ''."""
    first, *rest = re.split(r"^## ", text, flags=re.MULTILINE)
    return {"": first} | {part.partition("\n")[0]: part.partition("\n")[2] for part in rest}


def settings(struct: type[msgspec.Struct], above: str = "") -> Iterator[tuple[str, object]]:
    """(dotted name, default) of each setting."""
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from settings(field.type, f"{above}{field.encode_name}.")
        elif get_origin(field.type) is dict:
            yield from settings(get_args(field.type)[1], f"{above}{field.encode_name}.NAME.")
        else:
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            yield f"{above}{field.encode_name}", default


def commands(below: App, above: str = "") -> Iterator[tuple[str, App]]:
    """(full name, command) of everything that does something when it is called."""
    for name in below:
        if name.startswith("-"):
            continue
        command = below[name]
        if command.default_command is not None:
            yield f"{above}{name}", command
        yield from commands(command, f"{above}{name} ")


def options(command: App) -> set[str]:
    """`--option` of each option that help shows, and `NAME` of each positional argument."""
    found = set()
    for argument in command.assemble_argument_collection():
        name = argument.names[0]
        if name != "*" and argument.show:
            keyword = argument.field_info.kind is argument.field_info.KEYWORD_ONLY
            found.add(name if keyword else name.removeprefix("--").upper())
    return found


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def test_settings() -> None:
    documented = {
        name: (variable.strip("`"), default.strip("`"))
        for name, variable, default, _ in rows((REFERENCE / "settings.md").read_text())
    }
    expected = {}
    for name, default in settings(Settings):
        variable = PREFIX + name.upper().replace(".", "__")
        expected[name] = (variable, {"": "empty", "()": "none", "False": "false"}.get(str(default), str(default)))
    assert documented == expected


def test_outcomes() -> None:
    parts = sections((REFERENCE / "outcomes.md").read_text())
    documented = {name: status for name, status, *_ in rows(parts[""])}
    assert set(documented) == set(Outcome)
    # A new claim answers 201; the table of statuses holds the other case.
    assert {
        name: str(STATUS[Outcome(name)]) for name in documented if str(STATUS[Outcome(name)]) not in documented[name]
    } == {}
    reasons = {name: int(status) for name, status, *_ in rows(parts["Reasons with a status of their own"])}
    assert reasons == STATUS_OF_REASON
    others = {name: outcome.strip("`") for name, outcome, *_ in rows(parts["Other reasons"])}
    assert others == {
        refusal.reason: refusal.outcome
        for refusal in refusals()
        if refusal.reason and refusal.reason not in STATUS_OF_REASON
    }


def refusals() -> Iterator[Refusal]:
    """Every refusal that is a constant of some module; all of them are."""
    for module in pkgutil.walk_packages(headgate.__path__, "headgate."):
        # Those two are programs: importing them runs them.
        if module.name.rpartition(".")[2] not in {"__main__", "env"}:
            yield from (value for value in vars(import_module(module.name)).values() if isinstance(value, Refusal))


def test_commands_and_their_options() -> None:
    parts = sections((REFERENCE / "commands.md").read_text())
    everywhere = set(names(parts.pop("")))
    assert everywhere == {"--config", "--data"}
    documented = {command: set(names(text)) for command, text in parts.items()}
    expected = {name: options(command) for name, command in commands(app)}
    assert documented == {
        name: found - everywhere if found >= everywhere else found for name, found in expected.items()
    }


def test_every_command_shows_an_example() -> None:
    without = [name for name, command in commands(app) if f"Example: `headgate {name}" not in (command.help or "")]
    assert without == []


def test_campaign_file() -> None:
    parts = sections((REFERENCE / "campaign-file.md").read_text())
    for heading, struct in (("Campaign", CampaignDefinition), ("Pools", PoolDefinition)):
        documented = {name: default.strip("`") for name, default, _ in rows(parts[heading])}
        fields = {field.name: field for field in msgspec.structs.fields(struct)}
        assert set(documented) == set(fields)
        defaults = {
            name: str(field.default).lower() for name, field in fields.items() if isinstance(field.default, str | int)
        }
        assert {name: documented[name] for name in defaults} == defaults


@pytest.mark.parametrize("page", ["README.md", "docs/reference/campaign-file.md"])
def test_campaign_examples_can_be_created(page: str, tmp_path: Path) -> None:
    examples = [block for block in CODE_BLOCK.findall((ROOT / page).read_text()) if "[[pools]]" in block]
    assert examples
    for example in examples:
        file = tmp_path / "campaign.toml"
        file.write_text(example)
        read_definition(file)


def test_pages_that_messages_name_exist() -> None:
    named = {name for path in (ROOT / "src").rglob("*.py") for name in DOCS_PATH.findall(path.read_text())}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_invariants_that_the_judge_names() -> None:
    documented = names((REFERENCE / "invariants.md").read_text())
    judge = (ROOT / "src/headgate/lab/simulation/judge.py").read_text()
    named = set(re.findall(r'Violation\(\s*f?"([IX]\d+) ', judge))
    assert named
    assert sorted(named - set(documented)) == []


def test_metrics() -> None:
    documented = names((REFERENCE / "metrics.md").read_text())
    assert sorted(documented) == sorted(METRICS)


LOGGED = re.compile(
    r'_log\.(?:info|warning|error|exception)\(\s*"(\w+)"|_say_once\("(\w+)"|Lanes\(.*?"(\w+)"\s*\)|Rest\(\w+, "(\w+)"',
    re.DOTALL,
)


def test_log_events() -> None:
    said = {
        next(filter(None, found)) for path in (ROOT / "src").rglob("*.py") for found in LOGGED.findall(path.read_text())
    }
    assert sorted(names((REFERENCE / "log.md").read_text())) == sorted(said)


def test_ledger_tables() -> None:
    parts = sections((REFERENCE / "ledger-tables.md").read_text())
    documented = {table: names(text) for table, text in parts.items() if table}
    assert documented == {table.name: [column.name for column in table.columns] for table in METADATA.tables.values()}


def test_life_cycles_are_what_the_tables_give() -> None:
    assert lifecycle_docs.TARGET.read_text() == lifecycle_docs.page(), "run: python scripts/lifecycle_docs.py"


def test_every_decision_is_listed_and_complete() -> None:
    folder = DOCS / "decisions"
    listed = set(re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text()))
    files = {path.name: path.read_text() for path in folder.glob("[0-9]*.md")}
    assert listed == set(files)
    wanted = {"", *sections((folder / "template.md").read_text())}
    assert {name: wanted - set(sections(text)) for name, text in files.items() if wanted - set(sections(text))} == {}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for found in LINK.finditer(page.read_text()):
        target, _, anchor = found["target"].partition("#")
        if "://" in target:
            continue
        there = (page.parent / target).resolve() if target else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(found["target"])
    assert dead == []


def anchors(page: Path) -> set[str]:
    """What a heading can be linked by, as GitHub makes it."""
    kept = (re.sub(r"[^\w\- ]", "", found["text"].lower()) for found in HEADING.finditer(page.read_text()))
    return {text.replace(" ", "-") for text in kept}
