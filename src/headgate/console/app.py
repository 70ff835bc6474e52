"""The console as one ASGI application."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import jinja2
import structlog
from litestar import Litestar, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.handlers import HTTPRouteHandler
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Response
from litestar.template.config import TemplateConfig

from ..http.address import ClientAddress
from ..ports.clock import Clock
from ..ports.ledger import CampaignLedger
from ..ports.nodes import NodeRegister
from ..ports.replicas import Sources
from ..services.campaigns import Campaigns
from ..services.metrics_files import collect
from ..services.operators import Operators
from ..services.reports import Reports
from . import errors, health, pages, signing
from .counting import count_requests
from .desk import Desk, Measures
from .guard import BODY_MAX_BYTES, PUBLIC, add_headers, admit
from .sessions import ConsoleSessions
from .tallies import Tallies

PUBLISH_EVERY_S = 10.0
"""How often, where nobody scrapes, the console's counts are written, and those of dead processes folded so that their
files don't pile up."""

_HERE = Path(__file__).parent
_STATIC = {"console.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}

_log = structlog.get_logger("headgate.console")


def create_app(
    *,
    campaigns: Campaigns,
    sources: Mapping[str, Sources[CampaignLedger]],
    nodes: NodeRegister,
    operators: Operators,
    secret: bytes,
    clock: Clock,
    measures: Measures,
    trusted_proxies: Iterable[str] = (),
) -> Litestar:
    """`sources` are the ledgers by their names, for counts; `secret` (at least 32 bytes) signs sessions;
    `trusted_proxies` are believed about whose request it is.
    """
    statics = {name: _static(name, media_type) for name, media_type in _STATIC.items()}
    reports = {name: Reports(source) for name, source in sources.items()}
    tallies = Tallies(lambda slug: reports[campaigns.shard_of(slug)].tally(slug), clock)
    desk = Desk(
        campaigns=campaigns,
        nodes=nodes,
        tallies=tallies,
        operators=operators,
        sessions=ConsoleSessions(secret, clock),
        addresses=ClientAddress(trusted_proxies),
        clock=clock,
        measures=measures,
        stylesheet=next(iter(statics["console.css"].paths)),
    )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["icon"] = next(iter(statics["icon.svg"].paths))
    app = Litestar(
        route_handlers=[
            pages.campaigns_page,
            pages.campaign_page,
            pages.nodes_page,
            signing.login_page,
            signing.login,
            signing.logout,
            health.livez,
            health.readyz,
            health.metrics,
            *statics.values(),
        ],
        guards=[admit],
        before_send=[add_headers],
        exception_handlers={
            NotAuthorizedException: errors.to_login,
            HTTPException: errors.refused,
            Exception: errors.failed,
        },
        template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment)),
        state=State({"desk": desk}),
        lifespan=[partial(_publishing, measures.run_dir, measures.publish)],
        request_max_body_size=BODY_MAX_BYTES,
        # The environment can switch none of these on.
        debug=False,
        pdb_on_exception=False,
        openapi_config=None,
        logging_config=None,
    )
    count_requests(app, measures.telemetry)
    return app


def _static(name: str, media_type: str) -> HTTPRouteHandler:
    """Serves one file under a name that changes with its content, so that caches may keep it for ever."""
    content = (_HERE / "static" / name).read_bytes()
    stem, _, suffix = name.partition(".")
    path = f"/static/{stem}.{hashlib.sha256(content).hexdigest()[:10]}.{suffix}"
    headers = {"content-type": media_type, "cache-control": "public, max-age=31536000, immutable"}

    @get(path, opt={PUBLIC: True}, sync_to_thread=False)
    def static() -> Response[bytes]:
        return Response(content, headers=headers)

    return static


@asynccontextmanager
async def _publishing(run_dir: Path, publish_metrics: Callable[[], None], _app: Litestar) -> AsyncIterator[None]:
    def publish() -> None:
        publish_metrics()
        collect(run_dir)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(PUBLISH_EVERY_S)
            try:
                await asyncio.to_thread(publish)
            except OSError as error:
                _log.warning("metrics_not_folded", error=str(error))

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
