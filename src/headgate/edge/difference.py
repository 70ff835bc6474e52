"""What a machine or an nginx has other than a launch needs."""

from __future__ import annotations

import msgspec

OK, WARNING, FAILING = "ok", "warning", "failing"


class Difference(msgspec.Struct, frozen=True):
    """`verdict`: `ok`, `warning` (works, but hurts in a rush) or `failing` (breaks a promise, or serves nobody).

    `place` is where it stands: the name of a kernel setting, or FILE:LINE.  Where it is not ok, `wanted` says what it
    should be, and `cost` what it costs as it is.
    """

    name: str
    verdict: str
    found: str
    wanted: str = ""
    cost: str = ""
    place: str = ""
