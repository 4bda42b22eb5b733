"""guestd calls when it serves (proto/PROTOCOL.md, `ready`): the host waits for that, and polls nobody."""

import asyncio

from guestproto import WireError, decode_frame, encode_frame

LARGEST = 64 << 10  # of what it says; who calls is not known yet


class Ready:
    """`heard()` is called before guestd is answered: it calls again until then, so that a host agent that dies in between
    is told anew."""

    def __init__(self, heard=lambda: None):
        self._heard = heard
        self._said = asyncio.get_running_loop().create_future()
        self._server = None

    async def listen(self, sock):
        """On a listening Unix socket, which is closed with this. It may have been called already: that waits there."""
        self._server = await asyncio.start_unix_server(self._answer, sock=sock)

    async def wait(self, timeout):
        """What guestd said of itself: boot_id, version, uptime_ms, listen."""
        return await asyncio.wait_for(asyncio.shield(self._said), timeout)

    def close(self):
        if self._server:
            self._server.close()

    async def _answer(self, reader, writer):
        try:
            header = await reader.readexactly(4)
            message = decode_frame(header + await reader.readexactly(min(int.from_bytes(header, "big"), LARGEST)))
            if message[:1] + message[2:3] == [0, "ready"] and not self._said.done():
                self._heard()
                self._said.set_result(message[3])
            writer.write(encode_frame([1, message[1], None, {}]))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, WireError):
            pass  # somebody else, or one that left: guestd calls again
        finally:
            writer.close()
