"""Whom events are told to, out of the settings.

The HTTP client takes a fifth of a second to import, and a Headgate without webhooks does without it.
"""

from __future__ import annotations

import base64
import binascii
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ..ports.destination import Reachable
from ..services.relaying import Relay, Tenure
from ..services.relays import Relays
from ..settings import MAIN, Settings, SettingsError
from ..storage.sql.engine import open_engine
from ..storage.sql.outbox import SqlOutbox
from .gate import gate_address
from .ledger import CLOCK, ENTROPY, Shard, all_shards

STREAM = "stream"
NATS = "nats"

SECRET_PREFIX = "whsec_"  # noqa: S105 -- what a secret begins with
SECRET_BYTES = range(24, 65)
"""As https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md has it."""

SECRETS_MAX = 4
"""Of one webhook: that of today, and those that it changes from and to."""


def destination_names(settings: Settings) -> list[str]:
    """As the ledger knows them."""
    names = [f"webhook:{name}" for name in settings.events.webhooks]
    if settings.events.stream:
        names.append(STREAM)
    if settings.events.nats.url:
        names.append(NATS)
    return names


def open_relays(settings: Settings, shard: Shard) -> Relays:
    """For the events of one ledger; raises SettingsError where a webhook's secret cannot be used."""
    tenure = Tenure(time.monotonic)
    relays = [
        # A way to the ledger of its own, so that relays keep neither each other waiting nor the keeper.
        Relay(SqlOutbox(open_engine(shard.place)), destination, tenure, ENTROPY)
        for destination in _open_destinations(settings, shard)
    ]
    return Relays(SqlOutbox(open_engine(shard.place)), relays, tenure, CLOCK)


def _open_destinations(settings: Settings, shard: Shard) -> list[Reachable]:
    opened: list[Reachable] = []
    if settings.events.webhooks:
        from ..messaging.webhooks import Webhook  # noqa: PLC0415 -- see above

        opened += [
            Webhook(name, webhook.url, _secrets(name, webhook.secret_file), CLOCK)
            for name, webhook in settings.events.webhooks.items()
        ]
    address = gate_address(settings)
    if settings.events.stream and address is not None:
        from ..storage.redis.stream import KEY, RedisStream, key_of_shard  # noqa: PLC0415 -- as for the gate

        opened.append(RedisStream(address, KEY if shard.name == MAIN else key_of_shard(shard.name)))
    if settings.events.nats.url:
        from ..messaging.jetstream import JetStream  # noqa: PLC0415 -- an extra, which may not be installed

        opened.append(JetStream(settings.events.nats.url, settings.events.nats.secret_file))
    return opened


def check_destination(settings: Settings, name: str) -> str:
    """What was found; raises NotDelivered where it cannot be told of events now."""
    opened = _open_destinations(settings, all_shards(settings)[0])
    try:
        next(destination for destination in opened if destination.name == name).reach()
    finally:
        for destination in opened:
            destination.close()
    return "it can be reached"


def check_events(settings: Settings) -> str:
    """What was found; raises SettingsError where a webhook cannot be used as it is set."""
    found = []
    for name, webhook in settings.events.webhooks.items():
        parts = urlsplit(webhook.url)
        signed = "signed" if _secrets(name, webhook.secret_file) else "not signed"
        found.append(f"webhook {name} at {parts.scheme}://{parts.netloc}, {signed}")
    if settings.events.stream:
        found.append(f"a stream at {gate_address(settings)}")
    if settings.events.nats.url:
        found.append(_checked_nats(settings))
    return "; ".join(found) or "told to nobody"


def _checked_nats(settings: Settings) -> str:
    """What was found; raises SettingsError."""
    if find_spec("nats") is None:
        raise SettingsError(
            "events.nats.url is given, and its client is not installed; run: make install EXTRAS=nats, "
            "or where Headgate is a package: pip install 'headgate[nats]'"
        )
    secret_file = settings.events.nats.secret_file
    if secret_file and not _read_secret_file("events.nats.secret_file", secret_file).strip():
        raise SettingsError(
            f"events.nats.secret_file is {secret_file!r}, which is empty; write USER:PASSWORD or a token"
        )
    return f"NATS at {settings.events.nats.url}"


def _read_secret_file(name: str, secret_file: str) -> str:
    """Raises SettingsError, which shows nothing of what is in it."""
    path = Path(secret_file)
    setting = f"{name} is {secret_file!r}"
    try:
        mode = path.stat().st_mode & 0o777
        found = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text in ASCII"
        raise SettingsError(f"{setting}, which cannot be read ({said}); check its path and permissions") from error
    if mode & 0o077:
        raise SettingsError(f"{setting}, which others can read (mode {mode:03o}): chmod 600 {path}")
    return found


def _secrets(name: str, secret_file: str) -> list[bytes]:
    """What requests are signed by, each on a line; raises SettingsError, which shows none of them."""
    if not secret_file:
        return []
    setting = f"events.webhooks.{name}.secret_file is {secret_file!r}"
    found = _read_secret_file(f"events.webhooks.{name}.secret_file", secret_file).split()
    if not 1 <= len(found) <= SECRETS_MAX:
        raise SettingsError(f"{setting}, which holds {len(found)} secrets; give one, or up to {SECRETS_MAX}")
    secrets = [_secret(text) for text in found]
    if not all(secrets):
        raise SettingsError(
            f"{setting}, whose secret {secrets.index(b'') + 1} is no {SECRET_PREFIX} with {SECRET_BYTES[0]} to "
            f'{SECRET_BYTES[-1]} bytes in base 64; make one with: echo "{SECRET_PREFIX}$(openssl rand -base64 32)"'
        )
    return secrets


def _secret(text: str) -> bytes:
    """Empty where it is none."""
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        return b""
    return secret if text.startswith(SECRET_PREFIX) and len(secret) in SECRET_BYTES else b""
