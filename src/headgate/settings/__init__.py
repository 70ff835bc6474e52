"""Frozen, typed configuration, parsed once.

Each setting comes from the first of: a command-line option, an environment variable
(`HEADGATE_LIMITS__PER_IP_PER_MINUTE`), the TOML file given with `--config` (or `HEADGATE_CONFIG`), the default.
"""

from .checks import REPLICAS_MAX, WEBHOOKS_MAX
from .loading import PREFIX, load
from .model import MAIN, MEMORY_GATE, Address, Ledger, NoLedger, Settings, SettingsError, parse_address

__all__ = [
    "MAIN",
    "MEMORY_GATE",
    "PREFIX",
    "REPLICAS_MAX",
    "WEBHOOKS_MAX",
    "Address",
    "Ledger",
    "NoLedger",
    "Settings",
    "SettingsError",
    "load",
    "parse_address",
]
