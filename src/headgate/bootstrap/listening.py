"""What both HTTP listeners have in common."""

from __future__ import annotations

from granian.http import HTTP1Settings

HEADER_READ_TIMEOUT_MS = 10_000
"""A client that has not finished its headers by then is slow on purpose, or lost."""

HTTP_BUFFER_BYTES = 65_536
"""Request line and headers of one request fit in here, or are refused."""

HEADERS = HTTP1Settings(header_read_timeout=HEADER_READ_TIMEOUT_MS, max_buffer_size=HTTP_BUFFER_BYTES)

STOP_WORKERS_S = 7
"""What a worker may take to finish; shorter than what the supervisor waits for the plane."""
