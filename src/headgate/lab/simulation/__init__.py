"""A deterministic simulation of workers, clients and a failing ledger.

The gate, the desk, the claim form, the campaign book and the ledger's SQL are the real ones; time,
scheduling, the network and the failures are simulated and follow from one seed.  The idea is that of
TigerBeetle's VOPR (https://github.com/tigerbeetle/tigerbeetle/blob/main/docs/internals/vopr.md).
"""
