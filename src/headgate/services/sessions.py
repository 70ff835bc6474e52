"""Sessions: signed tokens that need no look-up.

A token is 56 base64 characters over 42 bytes: version (1), flags (1), person (16), issued at (4, seconds),
expires at (4, seconds), and a keyed BLAKE2b tag (16; RFC 7693).  Whoever holds the key can mint them,
nobody else can, and any worker can check them.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from hmac import compare_digest

import msgspec

from ..ports.clock import Clock
from ..ports.entropy import Entropy

SESSION_TTL_S = 12 * 3600
"""A session outlives one campaign day, not more."""

TOKEN_CHARS = 56

_BODY = struct.Struct(">BB16sII")
_TAG_BYTES = 16
_VERSION = 1
_VERIFIED = 1
_SYNTHETIC = 2


class Session(msgspec.Struct, frozen=True, gc=False):
    """Who is asking: `person` is 16 bytes and begins with the time it was made, so that an index over
    persons grows at its edge.  `synthetic` marks a participant of a rehearsal.
    """

    person: bytes
    verified: bool
    synthetic: bool


class Sessions:
    """Mints and checks tokens with one key (at least 32 bytes)."""

    def __init__(self, key: bytes, clock: Clock, entropy: Entropy) -> None:
        derived = hashlib.blake2b(key, digest_size=32, person=b"hg-session").digest()
        self._keyed = hashlib.blake2b(digest_size=_TAG_BYTES, key=derived)
        self._clock = clock
        self._entropy = entropy

    def new_person(self) -> bytes:
        """48 bits of time in milliseconds, then 80 random bits."""
        return self._clock.now_ms().to_bytes(6, "big") + self._entropy.token_bytes(10)

    def mint(
        self, person: bytes, *, verified: bool = False, synthetic: bool = False, ttl_s: int = SESSION_TTL_S
    ) -> str:
        issued = self._clock.now_ms() // 1000
        flags = (_VERIFIED if verified else 0) | (_SYNTHETIC if synthetic else 0)
        body = _BODY.pack(_VERSION, flags, person, issued, issued + ttl_s)
        return binascii.b2a_base64(body + self._tag(body), newline=False).decode("ascii")

    def check(self, token: str | None, now_ms: int) -> Session | None:
        """The session of a token; None where there is none, or it is malformed, forged, of another key, or expired."""
        if token is None or len(token) != TOKEN_CHARS:
            return None
        try:
            raw = binascii.a2b_base64(token, strict_mode=True)
        except (binascii.Error, ValueError):
            return None
        body = raw[: _BODY.size]
        if not compare_digest(self._tag(body), raw[_BODY.size :]):
            return None
        version, flags, person, _, expires = _BODY.unpack(body)
        if version != _VERSION or expires * 1000 <= now_ms:
            return None
        return Session(person, flags & _VERIFIED != 0, flags & _SYNTHETIC != 0)

    def _tag(self, body: bytes) -> bytes:
        tag = self._keyed.copy()
        tag.update(body)
        return tag.digest()
