"""The pages behind the sign-in.  Handlers run in threads, because the ledger's calls block."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.response import Template

from ..ports.ledger import UnknownCampaign
from . import views
from .desk import ConsoleRequest, desk_of


@get("/", sync_to_thread=True)
def campaigns_page(request: ConsoleRequest) -> Template:
    desk = desk_of(request)
    now_ms = desk.clock.now_ms()
    listing = desk.campaigns.all()
    # The newest comes first: the one that an operator is here for.
    located = sorted(listing.found, key=lambda found: (found.campaign.opens_at_ms, found.campaign.id), reverse=True)
    rows = [views.campaign_row(found.campaign, found.ledger.stock(found.campaign.id), now_ms) for found in located]
    return Template("campaigns.html", context={**_frame(request), "rows": rows, "away": sorted(listing.away)})


@get("/campaigns/{slug:str}", sync_to_thread=True)
def campaign_page(request: ConsoleRequest) -> Template:
    """One campaign; the query parameter `q` searches its pools."""
    desk = desk_of(request)
    slug, query = request.path_params["slug"], request.query_params.get("q", "")
    try:
        shard, ledger, campaign = desk.campaigns.find(slug)
        counted = desk.tallies.of(slug)
    except UnknownCampaign as error:
        raise NotFoundException("There is no campaign of this name.") from error
    stock = ledger.stock(campaign.id)
    context = {
        **_frame(request),
        "campaign": campaign,
        # Where there is only one, nobody wants to know.
        "ledger": shard if desk.campaigns.several else "",
        "row": views.campaign_row(campaign, stock, desk.clock.now_ms()),
        "tally": counted.tally,
        "counted_at": views.moment(counted.at_ms, views.zone_of(campaign), "%H:%M:%S"),
        "pools": views.select_pools(campaign, stock, query),
        "query": query,
        "query_chars_max": views.QUERY_CHARS_MAX,
    }
    return Template("campaign.html", context=context)


@get("/nodes", sync_to_thread=True)
def nodes_page(request: ConsoleRequest) -> Template:
    """Everybody who serves from this ledger."""
    nodes = desk_of(request).nodes.all()
    return Template("nodes.html", context={**_frame(request), "rows": views.node_rows(nodes)})


def _frame(request: ConsoleRequest) -> dict[str, Any]:
    """What every page has around it."""
    desk = desk_of(request)
    return {"css": desk.stylesheet, "operator": request.user, "form_token": desk.sessions.form_token(request.auth)}
