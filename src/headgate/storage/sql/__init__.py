"""The ledger on SQL engines: one schema and its migrations, SQLAlchemy Core for the cold side,
a hand-written transaction for the claims of each engine.
"""
