"""The textbook stack on servers: FastAPI, a Redis script as the gate, one SQL transaction for each win.

It keeps the same promises as well as it can: the script refuses who has been there or finds nothing left, the
transaction has a unique key for each person and a guarded decrement, and commits before the answer.  Its pools
are as large as what they lead to can use; with a library's defaults it gives up on most people.
"""

import os

import redis.asyncio
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from bench.baselines.tables import CLAIM, POOL, UNITS

GATE = """
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then return 2 end
redis.call('SET', KEYS[1], ARGV[2], 'NX')
if tonumber(redis.call('GET', KEYS[1])) < 1 then return 0 end
redis.call('DECR', KEYS[1])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
"""

engine = create_async_engine(os.environ["BASELINE_LEDGER"], pool_size=16, max_overflow=0, pool_timeout=30)
gate = redis.asyncio.Redis.from_url(os.environ["BASELINE_GATE"], max_connections=64, retry=Retry(NoBackoff(), 0))
admit = gate.register_script(GATE)
app = FastAPI()


class ClaimBody(BaseModel):
    pool: str


@app.post("/api/v1/campaigns/{slug}/claims")
async def claim(slug: str, body: ClaimBody, authorization: str = Header()) -> JSONResponse:
    person = authorization.removeprefix("Bearer ")
    admitted = await admit(
        keys=[f"{slug}:{{{body.pool}}}:units", f"{slug}:{{{body.pool}}}:people"], args=[person, UNITS]
    )
    if admitted == 0:
        return JSONResponse({"outcome": "sold_out"}, status_code=409)
    try:
        async with engine.begin() as connection:
            await connection.execute(insert(CLAIM).values(person=person, pool=body.pool))
            taken = await connection.execute(
                update(POOL).where(POOL.c.id == body.pool, POOL.c.remaining > 0).values(remaining=POOL.c.remaining - 1)
            )
            if taken.rowcount != 1:
                await connection.rollback()
                return JSONResponse({"outcome": "sold_out"}, status_code=409)
    except IntegrityError:
        return JSONResponse({"outcome": "confirmed"}, status_code=200)
    return JSONResponse({"outcome": "confirmed"}, status_code=201)
