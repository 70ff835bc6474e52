"""Plants a bug, by the name in PLANTED, into every process that Python starts with this directory on its path."""

# mypy: ignore-errors

import os

if os.environ.get("PLANTED") == "commits that nobody waits for":
    from headgate.storage.sql import servers

    servers._POSTGRESQL_OPTIONS["synchronous_commit"] = "off"

if os.environ.get("PLANTED") == "winners who are told that they lost":
    from headgate.domain.claim import Granted
    from headgate.domain.outcome import SOLD_OUT
    from headgate.ports.ledger import BatchResult
    from headgate.storage.sql.server_claims import ServerClaims

    confirm = ServerClaims.confirm

    def confirm_and_deny(self, batch, fresh):
        result = confirm(self, batch, fresh)
        told = [SOLD_OUT if isinstance(one, Granted) and one.claim.seq % 25 == 0 else one for one in result.decisions]
        return BatchResult(told, result.stock)

    ServerClaims.confirm = confirm_and_deny
