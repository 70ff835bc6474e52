"""Ids and codes of claims, made from entropy that comes in.

Both begin with something that grows (the time, the sequence), so that an index over them is appended
to instead of being filled at random, and end with something that nobody can guess.
"""

from __future__ import annotations

ALPHABET = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U, which people confuse with others (https://www.crockford.com/base32.html)."""

ENTROPY_PER_CLAIM = 15
"""Bytes of entropy that one claim needs: 9 for its id (72 bits), 6 for its code (30 bits)."""

_SYMBOLS = bytes(ALPHABET[value & 31] for value in range(256))
_PAIRS = [chr(ALPHABET[value >> 5]) + chr(ALPHABET[value & 31]) for value in range(1024)]


class ClaimNames:
    """Names for one batch: `entropy` holds ENTROPY_PER_CLAIM bytes for each claim."""

    def __init__(self, entropy: bytes, count: int, now_ms: int) -> None:
        self._prefix = f"{now_ms:012x}"
        self._ids = entropy[: 9 * count].hex()
        self._codes = entropy[9 * count : 15 * count].translate(_SYMBOLS).decode("ascii")

    def id_of(self, index: int) -> str:
        """30 hexadecimal digits: 48 bits of time in ms, 72 random bits."""
        return self._prefix + self._ids[18 * index : 18 * index + 18]

    def code_of(self, index: int, seq: int) -> str:
        """`SSSSSS-RRRRRR`: the sequence (so that no two codes are the same), then 30 random bits."""
        ordered = _PAIRS[seq >> 20 & 1023] + _PAIRS[seq >> 10 & 1023] + _PAIRS[seq & 1023]
        return f"{ordered}-{self._codes[6 * index : 6 * index + 6]}"
