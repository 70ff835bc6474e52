"""The yardstick: a bare Granian RSGI application that does no work at all."""

_HEADERS = [("content-type", "text/plain")]


class Hello:
    async def __rsgi__(self, scope, protocol):
        protocol.response_bytes(200, _HEADERS, b"hello")


app = Hello()
