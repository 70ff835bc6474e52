"""Stock in Redis or Valkey, a ledger behind it: what many flash-sale ("seckill") projects do, made well.

One script takes a unit, marks the person and puts the win on a stream, all in one step (`take.lua`).  The
person is told "confirmed" at once.  A consumer writes the wins to PostgreSQL in batches, each once, and
takes them off the stream after the commit.  Nothing is sent twice, pools and waits are bounded, and an
erased store is filled again from the ledger.

What is weak is the design, not the program: the store decides, and confirms what no disk has yet.  Wins
that were on the stream when the store lost its memory, or what a replica had not received when it took
over, were confirmed to people and are in no ledger, and their units are sold once more.

    python -m bench.baselines.redis_first setup --file CAMPAIGN.json
    python -m bench.baselines.redis_first serve --listen HOST:PORT
    python -m bench.baselines.redis_first consume

The store is named in REDIS_FIRST_GATE (redis://… or redis+cluster://HOST:PORT,…), the database in
REDIS_FIRST_LEDGER (postgresql+psycopg://…, also with several hosts).
"""
