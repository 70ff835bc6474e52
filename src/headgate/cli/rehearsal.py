"""`headgate rehearsal`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators
from rich.progress import track

from .options import COMMON, STDERR, CommandError, Common, Slug, private, whole

app = App(name="rehearsal", help="Try a campaign with synthetic people.")

TOKENS_MAX = 50_000_000
TOKENS_TTL_S = 7 * 24 * 3600


@app.command
def tokens(
    slug: Slug,
    *,
    count: Annotated[int, Parameter(converter=whole, validator=validators.Number(gte=1, lte=TOKENS_MAX))],
    out: Path,
    common: Common = COMMON,
) -> None:
    """Write the session tokens of COUNT synthetic verified participants, a line each.

    Only for a campaign with `rehearsal = true`; the tokens are good for a week and for rehearsals only.

    Example: `headgate rehearsal tokens masks --count 200000 --out tokens.txt`
    """
    from headgate.bootstrap import ledger

    with common.ledger_of(slug) as found:
        campaign = found.campaign(slug)
    if not campaign.rehearsal:
        raise CommandError(
            f"the campaign {slug!r} is no rehearsal; tokens of invented people are made only for a campaign "
            "that was created with rehearsal = true"
        )
    sessions = ledger.open_sessions(common.load())
    try:
        with private(out) as file:
            for _ in track(range(count), description="tokens", console=STDERR, disable=not STDERR.is_terminal):
                person = sessions.new_person()
                file.write(sessions.mint(person, verified=True, synthetic=True, ttl_s=TOKENS_TTL_S).encode() + b"\n")
    except OSError as error:
        raise CommandError(f"{out} cannot be written ({error.strerror}); choose another file with --out") from error
    STDERR.print(f"{count} tokens in {out}", markup=False)
