"""One SQL statement for each claim, the way that needs least of a database: FastAPI and PostgreSQL.

BASELINE_PATTERN chooses: `guarded` takes a unit from a row that counts them and inserts the claim; `skip_locked`
writes a person into a row of its own, made beforehand, passing over those that others have locked.  Both are
exact and commit before the answer.
"""

import os

from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

PATTERNS = {
    "guarded": (
        "WITH taken AS (UPDATE baseline_pool SET remaining = remaining - 1"
        " WHERE id = :pool AND remaining > 0 RETURNING id)"
        " INSERT INTO baseline_claim (person, pool) SELECT :person, id FROM taken"
    ),
    "skip_locked": (
        "UPDATE baseline_unit SET person = :person WHERE id = (SELECT id FROM baseline_unit"
        " WHERE pool = :pool AND person IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED)"
    ),
}

statement = text(PATTERNS[os.environ["BASELINE_PATTERN"]])
engine = create_async_engine(
    os.environ["BASELINE_LEDGER"], pool_size=16, max_overflow=0, pool_timeout=30, isolation_level="AUTOCOMMIT"
)
app = FastAPI()


class ClaimBody(BaseModel):
    pool: str


@app.post("/api/v1/campaigns/{slug}/claims")
async def claim(slug: str, body: ClaimBody, authorization: str = Header()) -> JSONResponse:  # noqa: ARG001 -- part of the path
    person = authorization.removeprefix("Bearer ")
    try:
        async with engine.connect() as connection:
            done = await connection.execute(statement, {"person": person, "pool": body.pool})
    except IntegrityError:
        return JSONResponse({"outcome": "confirmed"}, status_code=200)
    if done.rowcount != 1:
        return JSONResponse({"outcome": "sold_out"}, status_code=409)
    return JSONResponse({"outcome": "confirmed"}, status_code=201)
