"""Processes in a capsule, whoever started them: listed, killed, selected by pid or tag."""

from aiohttp import web

from hostagent.text import text
from hostagent.threads import call


def selector(request):
    """The path's `pid or tag`. A tag is never digits only."""
    asked = request.match_info["selector"]
    return {"pid": int(asked)} if asked.isascii() and asked.isdigit() else {"tag": asked}


async def processes(request, capsule):
    records = await call((await capsule.guest()).commands.list)
    return web.json_response({"processes": [
        {"pid": record.pid, "tag": record.tag, "cmd": text(record.cmd), "args": [text(arg) for arg in record.args]}
        for record in records]})


async def kill(request, capsule):
    signal = request.query.get("signal") or "SIGKILL"
    signal = int(signal) if signal.isascii() and signal.isdigit() else signal
    await call((await capsule.guest()).commands.kill, signal=signal, **selector(request))
    return web.Response(status=204)
