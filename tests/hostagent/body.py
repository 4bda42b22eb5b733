"""A request's JSON body. Only its shape is looked at: what a field may be, guestd knows and says."""

import json

from hostagent.errors import ApiError


async def read_json(request):
    """The body's object; an empty body is an empty one. null means absent."""
    try:
        return parse_object(await request.text())
    except UnicodeDecodeError:
        raise ApiError("invalid_request", "the body is no UTF-8") from None


def parse_object(text):
    try:
        body = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ApiError("invalid_request", "no JSON: %s" % error) from None
    if type(body) is not dict:
        raise ApiError("invalid_request", "not a JSON object")
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ApiError("invalid_request", "half a surrogate pair is no text") from None
    return {name: value for name, value in body.items() if value is not None}


def integer(body, name, default, least, most):
    value = body.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise ApiError("invalid_request", "%s: an integer from %d to %d" % (name, least, most))
    return value


def required(body, name, kind=str):
    value = body.get(name)
    if type(value) is not kind:
        raise ApiError("invalid_request", "%s: missing, or no %s" % (name, kind.__name__))
    return value
