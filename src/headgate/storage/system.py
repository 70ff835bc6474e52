"""The operating system's clock and entropy."""

from __future__ import annotations

import secrets
import time


class SystemClock:
    """See `headgate.ports.clock.Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class SystemEntropy:
    """See `headgate.ports.entropy.Entropy`."""

    def token_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)
