"""Terminals over a WebSocket: `pty`. Binary frames are keys and what is drawn; texts are about the session.

The program is a background process on a terminal: it lives on when the socket goes, and `connect` finds it by its tag,
draws what is kept again, and goes on.
"""

import asyncio
import contextlib

from aiohttp import WSMsgType
from guestproto import Data

from hostagent.body import integer, parse_object, required
from hostagent.errors import ApiError, told
from hostagent.exec import program
from hostagent.streams import first, open_socket, say
from hostagent.threads import call, items

PING_S = 20
SIDE = 4096  # a terminal's longest


class Keyboard:
    """What is typed at a terminal, at however many sockets: in one order, none lost with a connection to guestd."""

    def __init__(self, guest, pid):
        self._stdin = guest.commands.stdin(pid=pid)
        self._typing = asyncio.Lock()

    async def type(self, keys):
        async with self._typing:
            await call(self._stdin.write, keys)


async def terminal(request, capsule):
    guest = await capsule.guest()
    socket = await open_socket(request)
    tasks = []
    try:
        process = await begin(capsule, guest, await first(socket))
        live = await call(guest.commands.attach, pid=process.pid)
        await socket.send_json({"type": "started", "tag": process.tag, "pid": process.pid})
        tasks = [asyncio.create_task(listen(socket, capsule, guest, process)), asyncio.create_task(keep_alive(socket))]
        tasks[0].add_done_callback(lambda _: live.cancel())
        async for item in items(live):
            if isinstance(item, Data):
                await draw(socket, item.data)
        record = await call(live.result)
        capsule.keyboards.pop(process.pid, None)
        await say(socket, {"type": "exit", "exit_code": record.exit_code})
    except Exception as error:
        await say(socket, {"type": "error", "data": told(error).message, "fatal": True})
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    await socket.close()
    return socket


async def begin(capsule, guest, asked):
    """The process that the socket's first message starts, or connects to."""
    if asked.get("type") == "connect":
        process = await call(guest.commands.get, tag=required(asked, "tag"))
        if not process.fields.get("pty"):
            raise ApiError("invalid_request", "%s is at no terminal" % process.tag)
        return process
    cmd, args, params = program(asked)
    async with capsule.use():
        return await call(guest.commands.run, cmd, args, background=True, pty=size(asked), **params)


def size(asked):
    return {"rows": integer(asked, "rows", 24, 1, SIDE), "cols": integer(asked, "cols", 80, 1, SIDE)}


async def draw(socket, data):
    with contextlib.suppress(ConnectionError, RuntimeError):
        await socket.send_bytes(data)


async def listen(socket, capsule, guest, process):
    """Keys, and what the session is told. What is wrong in one message is told, and the session goes on."""
    async for message in socket:
        try:
            if message.type == WSMsgType.BINARY:
                keyboard = capsule.keyboards.setdefault(process.pid, Keyboard(guest, process.pid))
                await keyboard.type(message.data)
            elif message.type == WSMsgType.TEXT:
                await obey(guest, process, parse_object(message.data))
        except Exception as error:
            await say(socket, {"type": "error", "data": told(error).message, "fatal": False})


async def obey(guest, process, told_us):
    if told_us.get("type") == "resize":
        await call(guest.commands.resize, pid=process.pid, **size(told_us))
    elif told_us.get("type") == "kill":
        await call(guest.commands.kill, pid=process.pid)


async def keep_alive(socket):
    """Proxies close what is silent; the client answers `pong`."""
    while True:
        await asyncio.sleep(PING_S)
        await say(socket, {"type": "ping"})
