"""`python -m bench.city`: a whole city wants masks at once.

6,588 real pharmacies (the open data file of 3 March 2020, given with --pharmacies), people who choose by
Zipf's law, a tenth of whom ask twice, over real HTTP.  In the end every pool has given exactly
min(demand, stock), nobody has two, the audit is in order, and the export has every row.
"""

import argparse
import asyncio
import csv
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.measuring import BenchmarkFailed, headgate, headgate_server, print_environment, resident_mb
from headgate.lab.crowd import rush, wishes

ID, LABEL, UNITS = "醫事機構代碼", "醫事機構名稱", "成人口罩剩餘數"
CAMPAIGN = """
slug = "city"
title = { en = "Adult masks", zh = "成人口罩" }
opens_at = 2020-01-01T00:00:00+08:00
closes_at = 2099-01-01T00:00:00+08:00
rehearsal = true
"""


def check(directory, pharmacies, people, connections, workers):
    data = directory / "data"
    file = directory / "city.toml"
    file.write_text(CAMPAIGN)
    headgate(
        "campaign", "create", file, "--pools", pharmacies, "--id-column", ID, "--label-column", LABEL,
        "--units-column", UNITS, "--data", data,
    )  # fmt: skip
    tokens_file = directory / "tokens.txt"
    headgate("rehearsal", "tokens", "city", "--count", people, "--out", tokens_file, "--data", data)
    tokens = tokens_file.read_text().split()
    with pharmacies.open(encoding="utf-8-sig", newline="") as lines:
        stock = {row[ID]: int(row[UNITS]) for row in csv.DictReader(lines)}
    crowd = list(wishes(tokens, list(stock), exponent=1.1, again=0.1, seed=20200303))
    demand = Counter(pool for _, pool in {(wish.token, wish.pool) for wish in crowd})
    with headgate_server(data, directory / "serve.log", workers) as server:
        started = time.monotonic()
        heard = asyncio.run(rush("127.0.0.1", server.port, "city", iter(crowd), connections))
        seconds = time.monotonic() - started
        memory = resident_mb(server.process.pid)
    print(
        f"{len(crowd)} requests of {people} people in {seconds:.1f} s, worker {memory:.0f} MB: {dict(heard.outcomes)}"
    )
    _hold(data, directory, stock, demand, heard)


def _hold(data, directory, stock, demand, heard):
    def must(truth, what):
        if not truth:
            raise BenchmarkFailed(what)

    must(not heard.lost_connections, f"{heard.lost_connections} connections were lost")
    must(set(heard.outcomes) <= {"confirmed", "sold_out"}, f"answers were {dict(heard.outcomes)}")
    tally = json.loads(headgate("audit", "city", "--json", "--data", data))
    expected = sum(min(wanted, stock[pool]) for pool, wanted in demand.items())
    must(tally["ok"] and tally["confirmed"] == expected, f"{expected} were to be confirmed, the ledger says {tally}")
    out = directory / "results.csv"
    headgate("campaign", "results", "city", "--format", "csv", "--out", out, "--data", data)
    with out.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    given = Counter(row["pool"] for row in rows)
    wrong = [pool for pool in stock if given[pool] != min(demand[pool], stock[pool])]
    must(not wrong, f"{len(wrong)} pools gave too much or too little, for example {wrong[:3]}")
    must(len({row["person"] for row in rows}) == len(rows), "somebody has two")
    ids = {row["id"] for row in rows}
    must(set(heard.confirmed.values()) == ids, "the people were told something else than the ledger says")
    print(f"{len(rows)} claims in {len(given)} pools: every pool gave min(demand, stock), nobody has two, audit ok")


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.city", description=__doc__)
    parser.add_argument("--pharmacies", type=Path, default=Path("../shared/data/pharmacies/masks-2020-03-03.csv"))
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.pharmacies.exists():
        sys.exit(
            f"{arguments.pharmacies} is missing; get data.gov.tw dataset 116285 as CSV and name it with --pharmacies"
        )
    with tempfile.TemporaryDirectory(prefix="headgate-city-") as name:
        print_environment(Path(name))
        try:
            check(Path(name), arguments.pharmacies, arguments.people, arguments.connections, arguments.workers)
        except BenchmarkFailed as failure:
            sys.exit(f"the rush failed: {failure}")


if __name__ == "__main__":
    main()
