"""`headgate campaign`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.progress import track
from rich.table import Table

from headgate.domain.campaign import Mode, phase_of
from headgate.domain.definition import UNITS_MAX
from headgate.ports.ledger import ClaimRow
from headgate.services import operating
from headgate.services.campaigns import Listing, Located, UnknownShard
from headgate.services.definitions import Columns, DefinitionError, read_definition
from headgate.services.publishing import iso
from headgate.settings import MAIN, MEMORY_GATE, NoLedger

from .options import COMMON, STDERR, AsJson, CommandError, Common, Slug, actor, now_ms, private, table_console, whole

app = App(name="campaign", help="Create, watch and steer campaigns.")

_POOLS_SHOWN = 50


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


@app.command
def create(
    file: Path,
    *,
    pools: Path | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
    units_column: str | None = None,
    shard: str | None = None,
    common: Common = COMMON,
) -> None:
    """Create a campaign from a TOML file, its pools from there or from a CSV; prints the slug.

    Example: `headgate campaign create masks.toml --pools sites.csv --id-column code --units-column stock`

    Parameters
    ----------
    file
        The campaign file; docs/reference/campaign-file.md describes it.
    pools
        CSV file with a row for each pool, UTF-8, commas, with a header.
    id_column
        Its column with the pool's id; `id` where none is named.
    label_column
        Its column with the pool's name; without it pools have no names.
    units_column
        Its column with the number of units; `units` where none is named.
    shard
        Which of several ledgers it is to live on; without, the one with the fewest campaigns at that time.

    """
    if pools is None and (id_column or label_column or units_column):
        raise CommandError("a column was named, but no list with columns; give the list with --pools FILE")
    columns = Columns(id_column or "id", units_column or "units", label_column or "")
    try:
        definition = read_definition(file, pools, columns)
    except DefinitionError as error:
        raise CommandError(str(error)) from error
    with common.campaigns(create=True) as campaigns:
        try:
            campaign = campaigns.create(definition, shard, actor=actor())
        except UnknownShard as error:
            raise CommandError(f"{error}; they are named by the settings ledger.url and shards.NAME.url") from error
    if campaign.mode is Mode.QUEUED and common.load().gate.url == MEMORY_GATE:
        note = f"gate.url is {MEMORY_GATE!r} here: nodes that share no Redis or Valkey decide its requests at once"
        STDERR.print(note, markup=False)
    STDERR.print(f"{_counted(len(campaign.pools), 'pool')}, {_counted(campaign.capacity, 'unit')}", markup=False)
    print(campaign.slug)


@app.command(name="list")
def list_(*, as_json: AsJson = False, common: Common = COMMON) -> None:
    """List all campaigns.

    Example: `headgate campaign list --json`
    """
    try:
        with common.campaigns() as campaigns:
            listing = campaigns.all()
            rows = [_row(located) for located in listing.found]
    except NoLedger as nothing:
        # Before the first campaign that is no failure.
        STDERR.print(str(nothing), markup=False)
        rows, listing = [], Listing([], {})
    _show_list(rows, as_json=as_json)
    for name, error in listing.away.items():
        STDERR.print(f"headgate: the campaigns of {name!r} are not listed: {error}", markup=False)
    if listing.away:
        sys.exit(1)


def _row(located: Located) -> dict[str, Any]:
    stock = located.ledger.stock(located.campaign.id)
    return _summary(located, sum(pool.remaining for pool in stock))


def _show_list(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    shown = ["slug", "phase", "opens_at", "closes_at", "capacity", "available"]
    if {row["ledger"] for row in rows} - {MAIN}:
        shown.append("ledger")
    table = Table(*(name.removesuffix("_at") for name in shown))
    for row in rows:
        table.add_row(*(str(row[name]) for name in shown))
    table_console().print(table)


def _said(value: object) -> str:
    """As people write it: texts in several languages one after the other, yes and no."""
    if isinstance(value, dict):
        return " / ".join(value.values())
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"


def _summary(located: Located, available: int) -> dict[str, Any]:
    campaign = located.campaign
    return {
        "slug": campaign.slug,
        "kind": campaign.kind,
        "title": campaign.title,
        "phase": phase_of(campaign, now_ms(), sold_out=available == 0),
        "control": campaign.control,
        "opens_at": iso(campaign.opens_at_ms, campaign.utc_offset_s),
        "closes_at": iso(campaign.closes_at_ms, campaign.utc_offset_s),
        "per_person": campaign.per_person,
        "rehearsal": campaign.rehearsal,
        "verification": campaign.verification,
        "mode": campaign.mode,
        "ledger": located.shard,
        "capacity": campaign.capacity,
        "available": available,
        "version": campaign.version,
    }


@app.command
def show(slug: Slug, *, as_json: AsJson = False, common: Common = COMMON) -> None:
    """Show one campaign with its pools.

    Example: `headgate campaign show masks`
    """
    with common.campaigns() as campaigns:
        located = campaigns.find(slug)
        campaign = located.campaign
        remaining = {pool.pool_id: pool.remaining for pool in located.ledger.stock(campaign.id)}
    summary = _summary(located, sum(remaining.values()))
    if as_json:
        pools = [
            {"id": pool.code, "label": pool.label, "capacity": pool.capacity, "remaining": remaining[pool.id]}
            for pool in campaign.pools
        ]
        print(json.dumps({**summary, "pools": pools}, ensure_ascii=False))
        return
    console = Console(highlight=False)
    for name, value in summary.items():
        console.print(f"{name:>12}  {_said(value)}", markup=False)
    table = Table("pool", "label", "capacity", "available")
    for pool in campaign.pools[:_POOLS_SHOWN]:
        label = next(iter(pool.label.values()), "")
        table.add_row(pool.code, label.replace("[", "\\["), str(pool.capacity), str(remaining[pool.id]))
    console.print(table)
    if len(campaign.pools) > _POOLS_SHOWN:
        console.print(f"… and {len(campaign.pools) - _POOLS_SHOWN} more pools; --json shows all", markup=False)


@app.command
def pause(slug: Slug, *, common: Common = COMMON) -> None:
    """Take no claims until `resume`.

    Example: `headgate campaign pause masks`
    """
    _command(slug, "pause", common)


@app.command
def resume(slug: Slug, *, common: Common = COMMON) -> None:
    """Take claims again.

    Example: `headgate campaign resume masks`
    """
    _command(slug, "resume", common)


@app.command
def close(slug: Slug, *, common: Common = COMMON) -> None:
    """End the campaign for good; its claims stay.

    Example: `headgate campaign close masks`
    """
    _command(slug, "close", common)


def _command(slug: str, name: str, common: Common) -> None:
    with common.ledger_of(slug) as ledger:
        try:
            campaign = operating.command(ledger, slug, name, actor=actor())
        except operating.NotPossible as error:
            raise CommandError(str(error)) from error
    print(f"{slug}: {campaign.control}")


@app.command
def topup(
    slug: Slug,
    pool: Annotated[str, Parameter(help="The pool's id; `headgate campaign show SLUG` lists them.")],
    units: Annotated[
        int, Parameter(converter=whole, validator=validators.Number(gte=1, lte=UNITS_MAX), help="How many more.")
    ],
    *,
    common: Common = COMMON,
) -> None:
    """Add UNITS to a pool; open campaigns give them out at once.

    Example: `headgate campaign topup masks central 200`
    """
    with common.ledger_of(slug) as ledger:
        try:
            stock = operating.topup(ledger, slug, pool, units, now_ms(), actor=actor())
        except ValueError as error:
            raise CommandError(str(error)) from error
    print(f"{slug} {pool}: {stock.remaining} available")


@app.command(name="results")
def results_(
    slug: Slug,
    *,
    format: Annotated[Literal["csv", "json", "xlsx"], Parameter(help="What kind of file.")] = "csv",  # noqa: A002 -- the option's name is a promise
    out: Annotated[Path | None, Parameter(help="The file to write; standard output where there is none.")] = None,
    common: Common = COMMON,
) -> None:
    """Export the claims of a campaign, one row each, in the order of commitment.

    Example: `headgate campaign results masks --format csv --out masks.csv`
    """
    from headgate.services import results

    with common.reports(slug) as reports:
        count = reports.claim_count(slug)
        rows = _tracked(reports.claims(slug), count)
        write = {"csv": results.write_csv, "json": results.write_json, "xlsx": results.write_xlsx}[format]
        if out is None:
            write(rows, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        # Beside the target first, so that a failed export never leaves half a file under its name.
        part = out.with_name(f".{out.name}.part")
        try:
            with private(part) as file:
                write(rows, file)
            part.replace(out)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise CommandError(f"{out} cannot be written ({error.strerror}); choose another file with --out") from error
    STDERR.print(f"{count} claims in {out}", markup=False)


def _tracked(rows: Iterable[ClaimRow], count: int) -> Iterator[ClaimRow]:
    yield from track(rows, total=count, description="claims", console=STDERR, disable=not STDERR.is_terminal)
