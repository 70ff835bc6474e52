"""The textbook stack: FastAPI and SQLAlchemy, one SQLite transaction a claim, with a sanely sized pool.

It keeps the same promises as well as it can: a unique key for each person, a guarded decrement, a
durable commit before the answer.
"""

import os

from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Table, Text, create_engine, event, insert, update
from sqlalchemy.exc import IntegrityError

METADATA = MetaData()
POOL = Table(
    "pool",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("remaining", Integer, CheckConstraint("remaining >= 0"), nullable=False),
)
CLAIM = Table("claim", METADATA, Column("person", Text, primary_key=True), Column("pool", Text, nullable=False))

engine = create_engine(
    f"sqlite:///{os.environ['TEXTBOOK_DB']}", pool_size=8, max_overflow=0, pool_timeout=30, connect_args={"timeout": 30}
)


@event.listens_for(engine, "connect")
def _configure(connection, _record):
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


@event.listens_for(engine, "begin")
def _begin(connection):
    connection.exec_driver_sql("BEGIN IMMEDIATE")


METADATA.create_all(engine)
with engine.begin() as setup:
    setup.execute(insert(POOL).prefix_with("OR IGNORE").values(id="central", remaining=100_000_000))

app = FastAPI()


class ClaimBody(BaseModel):
    pool: str


@app.post("/api/v1/campaigns/{slug}/claims")
def claim(slug: str, body: ClaimBody, authorization: str = Header()) -> JSONResponse:  # noqa: ARG001 -- part of the path
    person = authorization.removeprefix("Bearer ")
    try:
        with engine.begin() as connection:
            connection.execute(insert(CLAIM).values(person=person, pool=body.pool))
            taken = connection.execute(
                update(POOL).where(POOL.c.id == body.pool, POOL.c.remaining > 0).values(remaining=POOL.c.remaining - 1)
            )
            if taken.rowcount != 1:
                connection.rollback()
                return JSONResponse({"outcome": "sold_out"}, status_code=409)
    except IntegrityError:
        return JSONResponse({"outcome": "confirmed"}, status_code=200)
    return JSONResponse({"outcome": "confirmed"}, status_code=201)
