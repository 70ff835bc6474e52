"""The console on a real SQLite ledger, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from argon2 import PasswordHasher
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient

from headgate.console.app import create_app
from headgate.console.desk import Measures
from headgate.console.sessions import SESSION_COOKIE
from headgate.domain.campaign import Campaign
from headgate.domain.claim import ClaimRequest, Granted
from headgate.domain.definition import CampaignDefinition, PoolDefinition
from headgate.services.campaigns import Campaigns, Home
from headgate.services.metrics_files import publish
from headgate.services.operators import Operators
from headgate.services.primary_alone import PrimaryAlone
from headgate.services.relays import ages_s
from headgate.storage.memory.telemetry import Counters
from headgate.storage.sql.campaigns import SqlCampaigns
from headgate.storage.sql.engine import open_engine, upgrade
from headgate.storage.sql.nodes import SqlNodes
from headgate.storage.sql.operators import SqlOperators
from headgate.storage.sql.outbox import SqlOutbox
from headgate.storage.sql.sqlite_claims import SqliteClaims
from tests.fakes import HandClock, SeededEntropy
from tests.markup import Page

SECRET = b"s" * 32
PASSWORD = "correct horse battery"
HOST = "console.test"
SAME_ORIGIN = {"origin": f"http://{HOST}"}
OPENS = datetime.fromisoformat("2026-12-01T09:00:00+08:00")
CLOSES = datetime.fromisoformat("2026-12-01T12:00:00+08:00")
DESTINATIONS = ("webhook:shop", "stream")
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Ledger:
    path: Path
    clock: HandClock
    entropy: SeededEntropy
    campaigns: SqlCampaigns
    operators: Operators
    nodes: SqlNodes

    def create(
        self,
        slug: str = "masks",
        pools: Mapping[str, int] | None = None,
        title: dict[str, str] | None = None,
        labels: Mapping[str, dict[str, str]] | None = None,
        closes: datetime = CLOSES,
        *,
        rehearsal: bool = False,
    ) -> Campaign:
        units = pools or {"central": 5, "west": 2}
        definition = CampaignDefinition(
            slug=slug,
            title=title or {"zh": "免费口罩", "en": "Free masks"},
            opens_at=OPENS,
            closes_at=closes,
            rehearsal=rehearsal,
            pools=[PoolDefinition(code, count, (labels or {}).get(code, {})) for code, count in units.items()],
        )
        return self.campaigns.create(definition, actor="test")

    def claim(self, campaign: Campaign, pool: str, persons: int = 1) -> None:
        """Confirm one claim for each of so many new persons."""
        pool_id = next(item.id for item in campaign.pools if item.code == pool)
        claims = SqliteClaims(self.path, self.clock, self.entropy)
        try:
            batch = [ClaimRequest(campaign.id, pool_id, self.entropy.token_bytes(16)) for _ in range(persons)]
            decisions = claims.confirm(batch, [False] * persons).decisions
        finally:
            claims.close()
        assert all(isinstance(decision, Granted) for decision in decisions)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    clock, entropy = HandClock(round(OPENS.timestamp() * 1000) + 60_000), SeededEntropy()
    path = tmp_path / "ledger.db"
    engine = open_engine(path)
    upgrade(engine)
    operators = Operators(SqlOperators(engine, clock), clock, entropy, CHEAP)
    operators.add("mei", "operator", PASSWORD, actor="test")
    yield Ledger(path, clock, entropy, SqlCampaigns(engine, clock), operators, SqlNodes(engine, clock))
    engine.dispose()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def console_on(ledger: Ledger, run_dir: Path, trusted_proxies: Sequence[str] = ()) -> Litestar:
    counters = Counters("console")
    outbox = SqlOutbox(open_engine(ledger.path))
    return create_app(
        campaigns=Campaigns({"main": lambda: Home(1, ledger.campaigns, cast("Any", None))}),
        sources={"main": PrimaryAlone(ledger.campaigns)},
        nodes=ledger.nodes,
        operators=ledger.operators,
        secret=SECRET,
        clock=ledger.clock,
        measures=Measures(
            telemetry=counters,
            run_dir=run_dir,
            publish=lambda: publish(run_dir, "console-1", counters.snapshot()),
            event_ages_s=partial(ages_s, outbox, DESTINATIONS, ledger.clock),
        ),
        trusted_proxies=trusted_proxies,
    )


@pytest.fixture
def client(ledger: Ledger, run_dir: Path) -> Iterator[TestClient[Litestar]]:
    app = console_on(ledger, run_dir)
    with TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def console(client: TestClient[Litestar]) -> Console:
    return Console(client)


@pytest.fixture
def mei(console: Console) -> Console:
    """Signed in."""
    assert console.sign_in("mei", PASSWORD).headers["location"] == "/"
    return console


@dataclass
class Console:
    """Does what a browser does: keeps cookies, follows no redirect by itself, says where a form comes from."""

    client: TestClient[Any]

    def get(self, path: str, **parameters: str) -> Response:
        return self.client.get(path, params=parameters or None, follow_redirects=False)

    def page(self, path: str, **parameters: str) -> Page:
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return Page(answer.content)

    def post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] = SAME_ORIGIN) -> Response:
        return self.client.post(path, data=dict(form), headers=dict(headers), follow_redirects=False)

    def form_token(self, path: str = "/login") -> str:
        return self.page(path).one("input", name="token").attributes["value"] or ""

    def sign_in(self, name: str, password: str, headers: Mapping[str, str] = SAME_ORIGIN) -> Response:
        form = {"token": self.form_token(), "name": name, "password": password}
        return self.post("/login", form, headers)

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get(SESSION_COOKIE)

    @cookie.setter
    def cookie(self, token: str) -> None:
        self.client.cookies.delete(SESSION_COOKIE)
        self.client.cookies.set(SESSION_COOKIE, token)

    @property
    def signed_in(self) -> bool:
        answer = self.get("/")
        assert answer.status_code == 200 or answer.headers["location"] == "/login"
        return answer.status_code == 200
