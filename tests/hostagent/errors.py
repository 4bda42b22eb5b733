"""What goes wrong, in the API's words: {"error": {"code", "message"}} and a status."""

import logging

from aiohttp import web
from guestproto import ConnectionLost, GuestError

log = logging.getLogger("hostagent")

STATUS = {"invalid_request": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404, "conflict": 409,
          "invalid_state": 409, "too_large": 413, "limit_exceeded": 429, "internal_error": 500, "unsupported": 501,
          "agent_error": 502, "host_unavailable": 503, "timeout": 504, "no_space": 507}

# guestd's codes that the API has another word for; what is in neither is the agent's fault.
OF_GUEST = {"wrong_type": "invalid_request", "permission_denied": "forbidden", "already_exists": "conflict",
            "busy": "conflict"}
OF_STATUS = {404: "not_found", 405: "invalid_request", 413: "too_large"}


class ApiError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


def told(error):
    """Any exception as an ApiError."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, GuestError):
        code = OF_GUEST.get(error.code, error.code)
        where = "" if not error.field or error.message.startswith(error.field) else error.field + ": "
        return ApiError(code if code in STATUS else "agent_error", where + error.message)
    if isinstance(error, ConnectionLost):
        return ApiError("agent_error", "the capsule's agent can't be reached: %s" % error)
    if isinstance(error, web.HTTPException):
        default = "invalid_request" if error.status < 500 else "internal_error"
        return ApiError(OF_STATUS.get(error.status, default), error.text or error.reason)
    log.error("a bug", exc_info=error)
    return ApiError("internal_error", "%s: %s" % (type(error).__name__, error))


@web.middleware
async def errors(request, handler):
    """Answers what a handler raised. A response that was begun can't be taken back: its handler ends it itself."""
    try:
        return await handler(request)
    except Exception as error:
        if isinstance(error, web.HTTPException) and error.status < 400:
            raise
        error = told(error)
        return web.json_response({"error": {"code": error.code, "message": error.message}}, status=STATUS[error.code])
