"""Request bodies: bounded before they are read."""

from __future__ import annotations

from typing import Any, Protocol

from ..domain.outcome import Outcome, Refusal

BODY_MAX_BYTES = 16_384
"""A claim is some hundred bytes; with signals it stays below this."""

TOO_LARGE = Refusal(Outcome.INVALID, f"The body is larger than {BODY_MAX_BYTES} bytes.", reason="too_large")
BAD_LENGTH = Refusal(Outcome.INVALID, "Content-Length is not a number.")


class BodyReader(Protocol):
    """What the server hands over (RSGI protocol): awaiting a call gives the whole body, iterating gives parts."""

    async def __call__(self) -> bytes: ...

    def __aiter__(self) -> Any: ...


async def read_body(reader: BodyReader, content_length: str | None) -> bytes | Refusal:
    """The body, or why it is refused; never holds more than BODY_MAX_BYTES and one part."""
    if content_length is not None:
        if not (content_length.isascii() and content_length.isdigit()):
            return BAD_LENGTH
        if len(content_length) > 6 or int(content_length) > BODY_MAX_BYTES:
            return TOO_LARGE
        return await reader()
    parts = bytearray()
    async for part in reader:
        parts += part
        if len(parts) > BODY_MAX_BYTES:
            return TOO_LARGE
    return bytes(parts)


def media_type(content_type: str | None) -> str:
    """The media type without parameters, in lower case; empty where there is none."""
    return (content_type or "").partition(";")[0].strip().lower()
