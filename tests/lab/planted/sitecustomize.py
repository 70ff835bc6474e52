"""Plants a bug, by the name in PLANTED, into every process that Python starts with this directory on its path."""

# mypy: ignore-errors

import os

if os.environ.get("PLANTED") == "commits that nobody waits for":
    from headgate.storage.sql import servers

    servers._POSTGRESQL_OPTIONS["synchronous_commit"] = "off"

if os.environ.get("PLANTED") == "units lost on their way back":
    from headgate.storage.sql.server_claims import ServerClaims

    cancel = ServerClaims.cancel

    def cancel_and_lose(self, campaign_id, person, claim_id):
        ended, stock = cancel(self, campaign_id, person, claim_id)
        with self._writing.begin() as connection:
            for pool in stock:
                connection.exec_driver_sql("UPDATE pool SET remaining = remaining - 1 WHERE id = %s", (pool.pool_id,))
        return ended, stock

    ServerClaims.cancel = cancel_and_lose
