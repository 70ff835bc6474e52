"""Planes that are started one by one, without a supervisor."""

from __future__ import annotations

import urllib.request
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance.client import Api, confirmed
from tests.acceptance.product import Server, create_campaign, damage_ledger, eventually, free_port


def planes(data: Path) -> list[Server]:
    port, console_port = free_port(), free_port()
    return [
        Server(data, port=port, console_port=console_port, extra=("--plane", plane))
        for plane in ("keeper", "console", "participant")
    ]


def test_planes_started_at_the_same_moment_make_one_whole_data_directory(data: Path) -> None:
    with ExitStack() as stack:
        servers = planes(data)
        for server in servers:
            stack.callback(server.end)
            server.launch()
        public = servers[-1]
        eventually("/readyz answers 200", public.ready)
        create_campaign(data, "masks")
        with Api(public.url) as api:
            eventually(
                "the worker knows the campaign",
                lambda: api.request("GET", "/api/v1/campaigns/masks").status_code == 200,
            )
            confirmed(api.claim("masks", api.session()))
        eventually("the keeper publishes", (data / "public" / "state" / "masks.json").exists)
        with urllib.request.urlopen(f"{public.console_url}/readyz", timeout=5) as answer:
            assert answer.status == 200


def test_a_plane_alone_refuses_a_damaged_ledger(data: Path) -> None:
    create_campaign(data, "masks")
    damage_ledger(data)
    for server in planes(data):
        assert "ledger.db" in server.must_not_start()
