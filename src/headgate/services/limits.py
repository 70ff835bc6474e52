"""Which limits a request is counted against."""

from __future__ import annotations

from ..domain.campaign import Campaign
from ..ports.limiter import ADDRESSES, Limit, Limiter
from ..ports.pending import Pending

DEVICE_CHARS_MAX = 64
"""A longer name of a device counts as its beginning."""


class Limits:
    """`per_address_per_minute` holds for every request of an address, 0 for none."""

    def __init__(self, limiter: Limiter, per_address_per_minute: int) -> None:
        self._limiter = limiter
        self._per_address = per_address_per_minute
        self.of_addresses = per_address_per_minute > 0

    def address(self, address: str) -> float | Pending[float]:
        """Seconds until this address may ask again; 0 where it may go on.  Only asked with `of_addresses`."""
        return self._limiter.wait_s(ADDRESSES, (Limit(address, self._per_address),))

    def claim(self, campaign: Campaign, person: bytes, device: str | None, pool: str | None) -> float | Pending[float]:
        """The same for a claim, by the campaign's own limits; `pool` is one of its pools.

        Whoever is refused by one of them takes nothing of those behind it: first the person's, then the device's, the
        pool's, the campaign's.
        """
        limits = campaign.limits
        if limits is None:
            return 0.0
        counted = []
        if limits.per_person_per_minute:
            counted.append(Limit(f"person:{person.hex()}", limits.per_person_per_minute))
        if limits.per_device_per_minute and device is not None:
            counted.append(Limit(f"device:{device[:DEVICE_CHARS_MAX]}", limits.per_device_per_minute))
        if limits.per_pool_per_minute and pool is not None:
            counted.append(Limit(f"pool:{pool}", limits.per_pool_per_minute))
        if limits.per_minute:
            counted.append(Limit("all", limits.per_minute))
        return self._limiter.wait_s(f"campaign:{campaign.slug}", tuple(counted)) if counted else 0.0
