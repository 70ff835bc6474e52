"""Arrays as PostgreSQL reads them in binary form, for statements that are given a batch as columns.

The driver takes ten times as long to write them, and the server longer to read them as text, where every value is
quoted, unquoted and looked through for commas.  The form: dimensions, whether a value is NULL, the type of the
values; for each dimension its length and its first index; and each value behind its length in bytes, which is -1
for NULL (`array_recv` in https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/arrayfuncs.c).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

_EMPTY = struct.Struct(">iiI")
_HEADER = struct.Struct(">iiIii")
_INT = struct.Struct(">ii")
# The types of values by their number in the server's catalogue, which never changes.
_BYTEA, _INT4, _TEXT = 17, 23, 25
_LENGTH_16 = struct.pack(">i", 16)
_NULL = struct.pack(">i", -1)


def ints(values: Sequence[int]) -> bytes:
    """`int[]`."""
    first = values[0] if values else 0
    if values.count(first) == len(values):
        # What all claims of a batch share, most often: their campaign, their pool, that they are the first.
        return _array(_INT4, _INT.pack(4, first) * len(values), len(values))
    return _array(_INT4, b"".join([_INT.pack(4, value) for value in values]), len(values))


def texts(values: Sequence[str]) -> bytes:
    """`text[]`; the values are ASCII and of one length up to 127, as names of claims are.  Raises ValueError."""
    if not values:
        return _array(_TEXT, b"", 0)
    (width,) = set(map(len, values))
    length = struct.pack(">i", width).decode("ascii")
    return _array(_TEXT, (length + length.join(values)).encode("ascii"), len(values))


def bytes16(values: Sequence[bytes | None]) -> bytes:
    """`bytea[]`; the values have 16 bytes or are NULL."""
    if None in values:
        content = b"".join([_NULL if value is None else _LENGTH_16 + value for value in values])
        return _array(_BYTEA, content, len(values), nulls=True)
    return _array(_BYTEA, b"".join([_LENGTH_16 + value for value in values if value is not None]), len(values))


def _array(kind: int, content: bytes, count: int, *, nulls: bool = False) -> bytes:
    if not count:
        return _EMPTY.pack(0, 0, kind)
    return _HEADER.pack(1, nulls, kind, count, 1) + content
