"""X-API-Key: one key, asked of everybody, compared in constant time."""

import hmac

from aiohttp import web

from hostagent.errors import ApiError


def check_key(key):
    @web.middleware
    async def check(request, handler):
        shown = request.headers.get("X-API-Key", "")
        if not hmac.compare_digest(shown.encode(errors="surrogateescape"), key.encode()):
            raise ApiError("unauthorized", "X-API-Key is missing or wrong")
        return await handler(request)
    return check
