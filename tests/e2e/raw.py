"""A client that has no manners: bytes as they are, frames as they come."""

import struct

import msgpack

from guestproto import encode_frame
from server import read_frame


def frame(body):
    return struct.pack(">I", len(body)) + body


class Raw:
    def __init__(self, guestd):
        self.sock = guestd.raw()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, message):
        self.sock.sendall(encode_frame(message))

    def send_bytes(self, data):
        """As much as the agent takes: it may close while more is on its way."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def request(self, msgid, method, params=None):
        self.send([0, msgid, method, {} if params is None else params])

    def recv(self):
        return read_frame(self.sock)

    def answer(self, msgid):
        """The response to msgid; notifications before it are passed over."""
        while True:
            message = self.recv()
            assert message is not None, "the connection was closed"
            if message[0] == 1 and message[1] == msgid:
                return message

    def until_closed(self):
        """Every frame up to the end of the connection."""
        frames = []
        while True:
            try:
                message = self.recv()
            except ConnectionResetError:
                message = None
            if message is None:
                return frames
            frames.append(message)

    def refused(self):
        """The code of the one protocol.error that the agent closes with."""
        frames = self.until_closed()
        assert frames, "closed without a word"
        kind, method, params = frames[-1]
        assert (kind, method) == (2, "protocol.error")
        assert set(params) == {"code", "message"} and params["message"]
        return params["code"]

    def works(self, msgid=4000000000):
        """True when the connection still answers."""
        self.request(msgid, "ping")
        return self.answer(msgid)[2] is None


def nested(levels):
    """A value that is `levels` arrays deep."""
    return b"\x91" * (levels - 1) + b"\x90"


def request_with(value, msgid=1, method="ping", key="deep"):
    """A request whose params are {key: value}, value being packed bytes already: its arrays begin at level 3."""
    return frame(b"\x94\x00" + msgpack.packb(msgid) + msgpack.packb(method) + b"\x81" + msgpack.packb(key) + value)
