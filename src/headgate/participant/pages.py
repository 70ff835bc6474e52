"""The participant's pages, as HTML.

Nothing here asks who is visiting: the campaign page is the same for everybody in one language, so
that any cache may keep it.  Only the page of a person's own claims is personal.  Every page works
without its scripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..domain.campaign import Phase
from ..domain.claim import LIVE, Claim, Status
from ..domain.outcome import Refusal
from ..domain.public import CampaignView, PoolView
from ..ports.queue import QueueState
from .pages_assets import build_assets
from .pages_text import LANGUAGES, Written, choose_language, local_moment, moment, refusal_name, texts, window, written

LISTED_MAX = 30
"""A campaign with more pools is searched, and a search shows no more than these."""

REFRESH_S = 3
"""How soon the page of whoever waits for a decision looks again where there is no script."""

CANCELLABLE = frozenset({Status.HELD, Status.CONFIRMED})

SCRIPT_TEXTS = (
    "choose.chosen_gone",
    "choose.first",
    "choose.loading",
    "choose.matches",
    "choose.matches_more",
    "choose.no_match",
    "countdown.soon",
    "reserve.another",
    "reserve.pending",
    "reserve.checking",
    "reserve.sending",
    "reserve.waiting",
    "result.done",
    "result.repeated",
)
"""What the scripts may have to say, besides every refusal."""


class _Row(msgspec.Struct, frozen=True, gc=False):
    """A pool in a list; `numbered` shows its id too, where names repeat in a long list."""

    id: str
    label: Written
    gone: bool
    numbered: bool


class _Card(msgspec.Struct, frozen=True, gc=False):
    """One claim as its owner sees it."""

    id: str
    code: str
    pool: Written
    at: str
    status: str
    live: bool
    cancellable: bool


class Pages:
    """Renders participant pages as UTF-8 HTML; pure over its arguments."""

    def __init__(self, assets: Mapping[str, str]) -> None:
        """`assets`: logical name to URL path, as `build_assets` returns it."""
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(assets=assets, languages=LANGUAGES)

    def campaign(
        self,
        view: CampaignView,
        *,
        language: str,
        query: str = "",
        matches: Sequence[PoolView] | None = None,
        refusal: Refusal | None = None,
    ) -> bytes:
        """The main page.  `matches` is what a search for `query` found; None where none was asked for."""
        large = len(view.pools) > LISTED_MAX
        listed = (matches or ()) if large else view.pools
        rows = _rows(listed, language, numbered=large)
        opens = datetime.fromisoformat(view.opens_at)
        return self._render(
            "campaign.html",
            language,
            view=view,
            here=f"/c/{view.slug}",
            title=written(view.title, language, view.slug),
            # A phase that this page has no words for is one in which nothing can be reserved yet.
            phase=view.phase.value,
            phases=[phase.value for phase in Phase],
            window=window(opens, datetime.fromisoformat(view.closes_at), language),
            opens=moment(opens, language),
            large=large,
            rows=rows,
            only=not large and len(rows) == 1 and not rows[0].gone,
            query=query,
            found=_found(view, language, query, matches),
            refusal=refusal and refusal_name(language, refusal.outcome, refusal.reason),
            script_texts=SCRIPT_TEXTS + tuple(name for name in texts(language) if name.startswith("refusal.")),
            blank=_Row("", Written("", None), False, True),
        )

    def claims(
        self,
        view: CampaignView,
        claims: Sequence[Claim],
        *,
        language: str,
        form_key: str,
        notice: str | None = None,
        state: QueueState | None = None,
    ) -> bytes:
        """The page of one person's claims; personal, so never to be stored by a cache.

        `view.pools` need hold only the pools of these claims: another claim from one of them is asked
        for here, with `form_key` as its idempotency key; other pools are a link away.  `notice` is
        `confirmed` or `cancelled` after such an act, and `lost` where a request that waited is no more.
        `state` is what the queue says of somebody in a queued campaign.
        """
        labels = {pool.id: pool.label for pool in view.pools}
        like = datetime.fromisoformat(view.opens_at)
        live = sum(claim.status in LIVE for claim in claims)
        held = {claim.pool_code for claim in claims}
        waiting = state is not None and state.pending is not False
        more = view.phase is Phase.OPEN and live < view.per_person and not waiting
        cards = [
            _Card(
                id=claim.id,
                code=claim.code,
                pool=written(labels.get(claim.pool_code, {}), language, claim.pool_code),
                at=moment(local_moment(claim.created_at_ms, like), language),
                status=claim.status.value,
                live=claim.status in LIVE,
                cancellable=claim.status in CANCELLABLE,
            )
            for claim in claims
        ]
        return self._render(
            "claims.html",
            language,
            slug=view.slug,
            here=f"/c/{view.slug}",
            query="",
            title=written(view.title, language, view.slug),
            claims=cards,
            usable=any(card.cancellable for card in cards),
            rows=_rows((pool for pool in view.pools if pool.id in held), language, numbered=False),
            more=more,
            form_key=form_key,
            notice=notice and f"notice.{notice}",
            waiting=waiting,
            refresh_s=REFRESH_S,
            refusal=state and state.outcome and refusal_name(language, state.outcome, state.reason),
        )

    def message(self, *, language: str, status: int, refusal: Refusal) -> bytes:
        """A page for what can't be shown: an unknown campaign, a request of a wrong kind, an overload."""
        heading = "message.title"
        if status == 404:
            heading = "message.not_found"
        elif refusal.retry_after_s is not None:
            heading = "message.busy"
        text = refusal_name(language, refusal.outcome, refusal.reason)
        return self._render("message.html", language, query="", heading=heading, text=text)

    def _render(self, template: str, language: str, **values: object) -> bytes:
        known = texts(language)

        def t(name: str, **parts: object) -> str:
            return known[name].format(**parts) if parts else known[name]

        names = {code: texts(code)["page.html_lang"] for code in LANGUAGES}
        page = self._environment.get_template(template).render(t=t, names=names, language=language, **values)
        # A lone surrogate can't be written as UTF-8, and must not take the page down.
        return page.encode("utf-8", "replace")


def _rows(pools: Iterable[PoolView], language: str, *, numbered: bool) -> list[_Row]:
    return [
        _Row(pool.id, written(pool.label, language, pool.id), pool.state == "sold_out", numbered)
        for pool in list(pools)[:LISTED_MAX]
    ]


def _found(view: CampaignView, language: str, query: str, matches: Sequence[PoolView] | None) -> str:
    """What a search came to, or how much there is to search."""
    known = texts(language)
    if matches is None or not query:
        return known["choose.count"].format(count=len(view.pools))
    if not matches:
        return known["choose.no_match"]
    if len(matches) >= LISTED_MAX:
        # Whoever searched may have stopped here, so how many there are is not known.
        return known["choose.matches_cut"].format(shown=LISTED_MAX)
    return known["choose.matches"].format(count=len(matches))


__all__ = ["Pages", "build_assets", "choose_language"]
