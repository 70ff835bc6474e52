"""Signed cookies of the console.

A token is base64url over: version (1 byte), session id (16), expires at (4, seconds), fingerprint of
the password hash (8), name (UTF-8, empty before signing in), and a keyed BLAKE2b tag (32; RFC 7693).
The role is not in it: it is looked up with every request, so that a change holds at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import struct
from hmac import compare_digest

import msgspec

from ..ports.clock import Clock
from ..ports.operators import Operator

SESSION_COOKIE = "hg_console"
FORM_COOKIE = "hg_console_form"
"""Carries the session of somebody who has not signed in, so that the login form has a token too.
It is a cookie of its own: a visit from another site, which brings no cookie, must not replace a session."""

SESSION_TTL_S = 8 * 3600
TOKEN_CHARS_MAX = 256
ENDED_MAX = 10_000
"""Sessions remembered as ended, about 100 bytes each, at most until they would have expired anyway."""

_BODY = struct.Struct(">B16sI8s")
_TAG_BYTES = 32
_VERSION = 1


class Session(msgspec.Struct, frozen=True):
    """`name` is empty before signing in; `fingerprint` ties the session to one password."""

    id: bytes
    name: str
    fingerprint: bytes
    expires_at_s: int


def fingerprint(operator: Operator) -> bytes:
    return hashlib.blake2b(operator.password_hash.encode(), digest_size=8, person=b"hg-console").digest()


class ConsoleSessions:
    """Mints and checks tokens with keys derived from one secret.

    Ended sessions are remembered in this process only: after a restart of the console a token that
    somebody copied before its owner signed out is good until it expires.
    """

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"hg-console").digest()
        self._form_key = hashlib.blake2b(secret, digest_size=32, person=b"hg-console-form").digest()
        self._clock = clock
        self._ended: dict[bytes, int] = {}

    def mint(self, operator: Operator | None) -> str:
        """A token with a new id; of nobody where `operator` is None."""
        name = "" if operator is None else operator.name
        mark = bytes(8) if operator is None else fingerprint(operator)
        expires = self._clock.now_ms() // 1000 + SESSION_TTL_S
        body = _BODY.pack(_VERSION, secrets.token_bytes(16), expires, mark) + name.encode()
        return base64.urlsafe_b64encode(body + self._tag(body)).decode("ascii").rstrip("=")

    def check(self, token: str | None) -> Session | None:
        """The session of a token; None where it is malformed, forged, of another key, expired or ended."""
        if not token or len(token) > TOKEN_CHARS_MAX:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body = raw[:-_TAG_BYTES]
        if len(body) < _BODY.size or not compare_digest(self._tag(body), raw[-_TAG_BYTES:]):
            return None
        version, session_id, expires, mark = _BODY.unpack(body[: _BODY.size])
        if version != _VERSION or expires * 1000 <= self._clock.now_ms() or session_id in self._ended:
            return None
        return Session(session_id, body[_BODY.size :].decode(), mark, expires)

    def end(self, session: Session) -> None:
        """Make the session's token worthless."""
        now_s = self._clock.now_ms() // 1000
        self._ended = {key: expires for key, expires in self._ended.items() if expires > now_s}
        if len(self._ended) >= ENDED_MAX:
            del self._ended[next(iter(self._ended))]
        self._ended[session.id] = session.expires_at_s

    def form_token(self, session: Session) -> str:
        """What a form of this session has to carry."""
        return hashlib.blake2b(session.id, digest_size=16, key=self._form_key).hexdigest()

    def form_token_matches(self, session: Session, given: str) -> bool:
        return compare_digest(self.form_token(session).encode(), given.encode("utf-8", "replace"))

    def _tag(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, digest_size=_TAG_BYTES, key=self._key).digest()
