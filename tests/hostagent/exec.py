"""Programs in the foreground and in the background: POST exec."""

import asyncio
import contextlib
import secrets

from aiohttp import web
from guestproto import ConnectionLost, GuestError

from hostagent.body import read_json, required
from hostagent.threads import call

PASSED_ON = ("envs", "cwd", "tag")
ANSWER = ("stdout", "stderr", "exit_code", "duration_ms", "encoding")
LOOK_S = 0.5  # how often to see whether the caller is still there


def program(body):
    """(cmd, args, what else goes to guestd under its own name). No shell: a list of no arguments is a list."""
    args = required(body, "args", list) if "args" in body else []
    return required(body, "cmd"), args, {name: body[name] for name in PASSED_ON if name in body}


async def run(request, capsule):
    body = await read_json(request)
    cmd, args, params = program(body)
    async with capsule.use() as guest:
        if body.get("background"):
            process = await call(guest.commands.run, cmd, args, background=True, **params)
            return web.json_response({"pid": process.pid, "tag": process.tag}, status=202)
        params["timeout"] = body.get("timeout_sec", body.get("timeout"))
        result = await foreground(request, guest, cmd, args, params)
        return web.json_response({name: result.fields[name] for name in ANSWER})


async def foreground(request, guest, cmd, args, params):
    """guestd kills what its caller left. Here the connection to it is the host agent's, and stays: the caller is watched
    in its place."""
    params.setdefault("tag", "fg-" + secrets.token_hex(6))
    running = asyncio.create_task(call(guest.commands.run, cmd, args, **params))
    while not running.done():
        await asyncio.wait({running}, timeout=LOOK_S)
        if request.transport is None or request.transport.is_closing():
            with contextlib.suppress(GuestError, ConnectionLost):  # not started yet, or just over
                await call(guest.commands.kill, tag=params["tag"])
    return running.result()
