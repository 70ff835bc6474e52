"""Real Valkey and PostgreSQL servers on loopback, started by the lab itself and ended with it.

Each program is found in this order: environment variable, PATH, wheel.
"""
