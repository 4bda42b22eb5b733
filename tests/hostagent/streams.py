"""Output over a WebSocket, as JSON texts: start, stdout, stderr, exit, error.

How fast the socket takes is how fast guestd sends: an event is sent before the next is taken, and taking gives credit.
"""

import asyncio
import contextlib

from aiohttp import WSMsgType, web
from guestproto import ConnectionLost, Data, End, Event, GuestError

from hostagent.body import parse_object
from hostagent.errors import ApiError, told
from hostagent.exec import program
from hostagent.processes import selector
from hostagent.text import Texts
from hostagent.threads import call, items

HEARTBEAT_S = 30  # a socket that is dead without a word is found so


async def open_socket(request):
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S)
    await socket.prepare(request)
    return socket


async def first(socket):
    """The object of the socket's first text, which says what it is for."""
    message = await socket.receive()
    if message.type != WSMsgType.TEXT:
        raise ApiError("invalid_request", "the first message is a JSON text")
    return parse_object(message.data)


async def stream(request, capsule):
    """exec/stream: a program that runs as long as the socket is open."""
    async with capsule.use() as guest:
        socket = await open_socket(request)
        try:
            cmd, args, params = program(await first(socket))
            live = await call(guest.commands.exec_stream, cmd, args, **params)
        except Exception as error:
            await say(socket, {"type": "error", "data": told(error).message})
        else:
            await show(socket, live)
        await socket.close()
        return socket


async def attach(request, capsule):
    """processes/{pid or tag}/stream: what a process wrote and writes. It doesn't notice."""
    guest = await capsule.guest()
    process = await call(guest.commands.get, **selector(request))  # unknown: 404 instead of a socket
    live = await call(guest.commands.attach, pid=process.pid)
    socket = await open_socket(request)
    await show(socket, live)
    await socket.close()
    return socket


async def show(socket, live):
    """Sends a stream's events until it ends, or whoever reads them goes."""
    listener = asyncio.create_task(until_stop(socket))
    listener.add_done_callback(lambda _: live.cancel())
    try:
        async for event in events(live):
            await say(socket, event)
    except Exception as error:
        await say(socket, {"type": "error", "data": told(error).message})
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener


async def until_stop(socket):
    """Returns when the client says so, or has gone."""
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            with contextlib.suppress(ApiError):
                if parse_object(message.data).get("type") == "stop":
                    return


async def say(socket, event):
    """Nobody there is no error of ours: the stream is cancelled, and ends."""
    with contextlib.suppress(ConnectionError, RuntimeError):
        await socket.send_json(event)


async def events(live):
    """A guestproto stream as the API's events. Bytes that are gone (a reader that is overrun) have no word in it."""
    texts = Texts()
    async for item in items(live):
        if isinstance(item, Event) and item.event == "started":
            yield {"type": "start", "pid": item.fields["pid"]}
        elif isinstance(item, (Data, End)):
            data = texts.take(item.ch, item.data) if isinstance(item, Data) else texts.end(item.ch)
            if data:
                yield {"type": "stderr" if item.ch == "stderr" else "stdout", "data": data}
    result = await call(live.result)
    yield {"type": "exit", "exit_code": result.exit_code}
