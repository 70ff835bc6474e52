"""Ids and codes of claims, made from entropy that comes in.

Both begin with the claim's sequence number, which makes them unique without an index over them and
finds their row, and end with something that nobody can guess.
"""

from __future__ import annotations

ALPHABET = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U, which people confuse with others (https://www.crockford.com/base32.html)."""

ENTROPY_PER_CLAIM = 15
"""Bytes of entropy that one claim needs: 9 for its id (72 bits), 6 for its code (30 bits)."""

_SYMBOLS = bytes(ALPHABET[value & 31] for value in range(256))
_PAIRS = [chr(ALPHABET[value >> 5]) + chr(ALPHABET[value & 31]) for value in range(1024)]


class ClaimNames:
    """Names for a batch of `count` claims from `first_seq` on: `entropy` holds ENTROPY_PER_CLAIM bytes for each."""

    def __init__(self, entropy: bytes, count: int, first_seq: int) -> None:
        self._first_seq = first_seq
        self._ids = entropy[: 9 * count].hex()
        self._codes = entropy[9 * count : 15 * count].translate(_SYMBOLS).decode("ascii")

    def id_of(self, index: int) -> str:
        """30 hexadecimal digits: the sequence in 48 bits, then 72 random bits."""
        return f"{self._first_seq + index:012x}{self._ids[18 * index : 18 * index + 18]}"

    def code_of(self, index: int) -> str:
        """`SSSSSS-RRRRRR`: the sequence (so that no two codes are the same), then 30 random bits."""
        seq = self._first_seq + index
        ordered = _PAIRS[seq >> 20 & 1023] + _PAIRS[seq >> 10 & 1023] + _PAIRS[seq & 1023]
        return f"{ordered}-{self._codes[6 * index : 6 * index + 6]}"
