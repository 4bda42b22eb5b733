"""A client for guestd, written from the text of PROTOCOL.md alone; § are sections of that text.

    with Client("unix:/run/guestd.sock") as c:
        c.hello()
        c.call("exec", cmd="echo", args=["hello"])["stdout"]

One thread: whoever waits for an answer reads the frames of all calls meanwhile. Every frame is checked before it
is believed (§14); what no honest agent sends raises Untrusted.
"""

import collections
import itertools
import select
import socket
import time

import msgpack

LEVELS, OBJECTS = 16, 262144  # of a body, §2
DATA_MAX = 256 * 1024         # bytes of data in one frame of the agent, §7
WINDOW, STREAM_CREDIT = 1048576, 262144  # what the agent and an upload start with unless told otherwise, §7


class AgentError(Exception):
    """An error response (§5). A key that is missing or of another type is None."""

    def __init__(self, error):
        super().__init__(error)
        for key, kind in dict(code=str, message=str, errno=int, field=str, data=dict).items():
            setattr(self, key, error.get(key) if type(error.get(key)) is kind else None)


class Lost(Exception):
    """The connection is gone; `code` is that of protocol.error, None when nothing was said."""

    def __init__(self, code=None, message=""):
        self.code = code
        super().__init__(f"connection lost: {code} {message}")


class Untrusted(Exception):
    """The other end broke the protocol."""


def trust(condition, what):
    if not condition:
        raise Untrusted(what)


# Head bytes with a length or a value behind them: how many bytes of it, and what it is the length of.
_HEADS = {first + i: (width, kind) for first, widths, kind in (
    (0xc4, (1, 2, 4), "bytes"), (0xca, (4, 8), None), (0xcc, (1, 2, 4, 8), None), (0xd0, (1, 2, 4, 8), None),
    (0xd9, (1, 2, 4), "bytes"), (0xdc, (2, 4), "array"), (0xde, (2, 4), "map")) for i, width in enumerate(widths)}


def walk(body):
    """Checks a body's lengths, nesting and number of objects and builds nothing (§2, §14)."""
    pos, objects, left = 0, 0, [1]  # left: how many objects each open level still lacks
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        objects += 1
        trust(objects <= OBJECTS, "too many objects")
        trust(pos < len(body), "a body that is cut")
        head, pos, kind, n = body[pos], pos + 1, None, 0
        if 0x80 <= head <= 0x9f:
            kind, n = ("map", "array")[head >> 4 & 1], head & 15
        elif 0xa0 <= head <= 0xbf:
            kind, n = "bytes", head & 31
        elif 0xc0 <= head <= 0xdf and head not in (0xc0, 0xc2, 0xc3):
            trust(head in _HEADS, f"byte {head:#x} in a body")
            width, kind = _HEADS[head]
            trust(pos + width <= len(body), "a head that is cut")
            n, pos = int.from_bytes(body[pos:pos + width], "big") if kind else 0, pos + width
        if kind == "bytes":
            pos += n
            trust(pos <= len(body), "a length that lies")
        elif kind:
            n *= 2 if kind == "map" else 1
            trust(n <= len(body) - pos, "a length that lies")
            left.append(n)
            trust(len(left) - 1 <= LEVELS, "nested too deep")
    trust(pos == len(body), "bytes after the body")


def is_uint(value, bits=64):
    return type(value) is int and 0 <= value < 1 << bits


def parse(body):
    """A message of §3, checked for its shape alone."""
    walk(body)
    try:
        m = msgpack.unpackb(body, raw=False, strict_map_key=False)
    except Exception as e:
        raise Untrusted(f"a body that doesn't decode: {e}") from e
    trust(type(m) is list and m and type(m[0]) is int and 0 <= m[0] <= 2, "no message")
    trust(len(m) == (4, 4, 3)[m[0]], "a message of another length")
    if m[0] == 1:
        trust(is_uint(m[1], 32), "a msgid that is no u32")
        trust((m[2] is None) != (m[3] is None), "a response with not exactly one of error and result")
        trust(type(m[3] if m[2] is None else m[2]) is dict, "a response that is no map")
    else:
        trust(m[0] == 2 or is_uint(m[1], 32), "a msgid that is no u32")
        trust(type(m[-2]) is str and type(m[-1]) is dict, "method or params of another type")
    return m


def frame(message):
    """A frame of a message, or of a body that is bytes already."""
    body = message if type(message) is bytes else msgpack.packb(message, use_bin_type=True)
    return len(body).to_bytes(4, "big") + body


def connect(address, timeout=10):
    """A connected socket for an address of §1 (not for fd: and firecracker:)."""
    kind, _, rest = address.partition(":")
    host, _, port = rest.rpartition(":")
    if kind == "tcp":
        s = socket.create_connection((host.strip("[]"), int(port)), timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s
    s = socket.socket(socket.AF_VSOCK if kind == "vsock" else socket.AF_UNIX)
    s.settimeout(timeout)
    try:
        s.connect((int(host or 1), int(port)) if kind == "vsock" else rest)
    except OSError:
        s.close()
        raise
    return s


class Call:
    """One request and the stream it may have (§7)."""

    def __init__(self, client, msgid, method, params, auto):
        self.client, self.id, self.auto = client, msgid, auto
        first = params.get("off", 0) if method == "file.read" else 0
        self.events, self.gaps, self.ends = [], [], {}
        self.data = collections.defaultdict(bytearray)  # by channel; a gap leaves no trace in it
        self.off = collections.defaultdict(lambda: first)  # by channel: where the next data is to begin
        self.window = self.granted = params.get("window", WINDOW)
        self.came = 0  # data bytes of all channels
        self.credit = client.limit("stream_credit", STREAM_CREDIT)
        self.done, self.error, self.result = False, None, None
        self.heard = None  # called with channel, offset, end and data (None: a gap) of whatever comes

    def until(self, condition, timeout=30):
        """Reads frames until the condition holds, which it must do before the timeout."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.client.step(deadline)

    def wait(self, timeout=30):
        self.until(lambda: self.done, timeout)
        if self.error is not None:
            raise AgentError(self.error)
        return self.result

    def grant(self, count):
        self.granted += count
        self.client.send([2, "stream.credit", {"id": self.id, "bytes": count}])

    def cancel(self):
        self.client.send([2, "stream.cancel", {"id": self.id}])

    def upload(self, data, timeout=30):
        """Sends data, of an upload or for stdin, as credit allows; stops early when the answer is there already."""
        piece = min(DATA_MAX, self.client.limit("max_frame", DATA_MAX + 64) - 64)
        while data and not self.done:
            self.until(lambda: self.credit or self.done, timeout)
            n = min(len(data), self.credit, piece)
            if n and not self.done:
                self.credit -= n
                self.client.send([2, "stream.data", {"id": self.id, "data": bytes(data[:n])}])
                data = data[n:]

    def end(self):
        self.client.send([2, "stream.end", {"id": self.id}])

    def notification(self, method, p):
        ch = p.get("ch")
        if method == "stream.event":
            trust(type(p.get("event")) is str, "an event without a name")
            trust(p["event"] != "started" or not (self.events or self.came or self.ends), "a late `started`")
            begins = p.get("from", {})  # of an attach (§9)
            trust(type(begins) is dict and all(map(is_uint, begins.values())), "an odd `from`")
            self.off.update(begins)
            self.events.append(p)
        elif method == "stream.credit":
            trust(is_uint(p.get("bytes")), "a credit without bytes")
            self.credit += p["bytes"]
        elif method == "stream.data":
            data = p.get("data")
            trust(type(ch) is str and type(data) is bytes and len(data) <= DATA_MAX, "odd data")
            trust(ch not in self.ends and p.get("off") == self.off[ch], f"data of {ch} at another offset")
            if self.heard:
                self.heard(ch, p["off"], p["off"] + len(data), data)
            self.off[ch] += len(data)
            self.came += len(data)
            trust(self.came <= self.granted, "more data than was credited")
            self.data[ch] += data
            if self.auto and self.came >= self.granted - self.window * 3 // 4:
                self.grant(self.came + self.window - self.granted)
        elif method == "stream.gap":
            trust(type(ch) is str and is_uint(p.get("to")) and ch not in self.ends
                  and p.get("from") == self.off[ch] <= p["to"], "an odd gap")
            self.gaps.append((ch, p["from"], p["to"]))
            if self.heard:
                self.heard(ch, p["from"], p["to"], None)
            self.off[ch] = p["to"]
        elif method == "stream.end":
            trust(type(ch) is str and ch not in self.ends and p.get("off") == self.off[ch], "an odd end")
            self.ends[ch] = p["off"]


class Client:
    """A connection. `address` is one of §1, or a connected socket."""

    def __init__(self, address, max_frame=8 << 20):
        self.max_frame, self.limits = max_frame, {}
        self.calls, self.ids, self.buffer, self.eof = {}, itertools.count(), bytearray(), False
        self.socket = connect(address) if type(address) is str else address
        self.socket.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def limit(self, name, default):
        return self.limits[name] if is_uint(self.limits.get(name)) else default

    def hello(self, /, **params):
        result = self.call("hello", **{"protocol": 1, "max_frame": self.max_frame, **params})
        self.max_frame = params.get("max_frame") or self.max_frame
        self.limits = result["limits"] if type(result.get("limits")) is dict else {}
        return result

    def start(self, method, /, auto=True, **params):
        """Sends a request. With `auto` the call grants credit as data comes, else the caller does."""
        msgid = next(i for i in self.ids if i & 0xffffffff not in self.calls) & 0xffffffff
        call = self.calls[msgid] = Call(self, msgid, method, params, auto)
        self.send([0, msgid, method, params])
        return call

    def call(self, method, /, within=30, **params):
        return self.start(method, **params).wait(within)

    def send(self, message):
        self.send_raw(frame(message))

    def send_raw(self, data, timeout=30):
        data, deadline = memoryview(data), time.monotonic() + timeout
        while data and not self.eof:  # reads meanwhile, so that two full pipes can't wait for each other
            if self._ready(deadline, [self.socket])[1]:
                try:
                    data = data[self.socket.send(data):]
                except OSError:
                    return  # what the agent had to say about it is still to be read

    def _ready(self, deadline, writers=()):
        readable, writable, _ = select.select([self.socket], writers, [], max(deadline - time.monotonic(), 0))
        if not readable and not writable:
            raise TimeoutError("nothing came before the deadline")
        if readable:
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            self.buffer += data
            self.eof = not data
        return readable, writable

    def read(self, deadline):
        """The next message. Its length is looked at before anything is kept for it."""
        while True:
            if len(self.buffer) >= 4:
                size = int.from_bytes(self.buffer[:4], "big")
                trust(size <= self.max_frame, f"a frame of {size} bytes")
                if len(self.buffer) >= 4 + size:
                    body = bytes(self.buffer[4:4 + size])
                    del self.buffer[:4 + size]
                    return parse(body)
            if self.eof:
                raise Lost()
            self._ready(deadline)

    def step(self, deadline):
        """Reads one message and gives it to its call."""
        m = self.read(deadline)
        if m[0] == 1:
            trust(m[1] in self.calls, "a response that nobody waits for")
            call = self.calls.pop(m[1])
            call.done, call.error, call.result = True, m[2], m[3]
        elif m[:2] == [2, "protocol.error"]:
            raise Lost(m[2].get("code"), m[2].get("message"))
        else:
            trust(m[0] == 2, "a request from the agent")
            if m[1].startswith("stream."):
                trust(type(m[2].get("id")) is int and m[2]["id"] in self.calls, "news of a stream that isn't open")
                self.calls[m[2]["id"]].notification(m[1], m[2])
