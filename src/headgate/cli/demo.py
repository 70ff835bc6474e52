"""`headgate demo`."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console

from headgate.bootstrap.logs import set_up_logging
from headgate.domain.definition import CampaignDefinition, PoolDefinition

from .options import Common, now_ms
from .serve import load, serve_all, wait_ready

OPENS_IN_S = 20
OPEN_FOR = timedelta(hours=3)
DEMO_DATA = Path("demo-data")

_POOLS = (
    PoolDefinition("central", 200, {"en": "Central pharmacy", "zh": "中心药房"}),
    PoolDefinition("harbour", 50, {"en": "Harbour clinic", "zh": "海港诊所"}),
    PoolDefinition("hill", 5, {"en": "Hill Street store", "zh": "山街商店"}),
)


def demo(*, data: Path = DEMO_DATA, listen: str | None = None, console: str | None = None) -> None:
    """Serve a demo campaign that opens within 20 seconds; prints its page, the console and the console's password.

    Example: `headgate demo`
    """
    from headgate.bootstrap import ledger

    common = Common(data=data)
    settings = load(common, listen, console, None)
    set_up_logging()
    started = datetime.fromtimestamp(now_ms() // 1000).astimezone()
    slug = f"demo-{started:%Y%m%d-%H%M%S}"
    name = f"demo-{secrets.token_hex(3)}"
    ledger.prepare_data(settings)
    opens_at = started + timedelta(seconds=OPENS_IN_S - 2)
    definition = CampaignDefinition(
        slug=slug,
        title={"en": "Free masks", "zh": "免费口罩"},
        opens_at=opens_at,
        closes_at=opens_at + OPEN_FOR,
        pools=list(_POOLS),
    )
    with ledger.open_campaigns(settings, create=True) as campaigns:
        campaigns.create(definition, None, actor="demo")
    with ledger.open_operators(settings, create=True) as operators:
        password = operators.add(name, "admin", None, actor="demo")

    def announce() -> None:
        wait_ready(settings)
        out = Console(highlight=False)
        out.print()
        out.print(f"  participant page  http://{settings.listen_address}/c/{slug}")
        out.print(f"  opens at          {opens_at:%H:%M:%S}")
        out.print(f"  console           http://{settings.console_address}/")
        out.print(f"  console account   {name}")
        out.print(f"  console password  {password}", markup=False)
        out.print("  stop with         Ctrl-C")
        out.print()

    serve_all(settings, common, announce)
