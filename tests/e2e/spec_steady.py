"""How a client resumes, written from §14.7 of PROTOCOL.md alone, on top of spec_client.py."""

import collections
import contextlib
import time
import uuid

import spec_client as sc

LOST = (sc.Lost, ConnectionError)


class Steady:
    """A client that outlives its connections. What is sent again is harmless when it is done twice."""

    def __init__(self, address, seconds=10):
        self.address, self.seconds, self.losses = address, seconds, 0
        self.c = sc.Client(address)
        self.hello = self.c.hello()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.c.socket.close()

    def renew(self):
        """A new connection to the same guestd, within a bounded time."""
        self.losses += 1
        deadline = time.monotonic() + self.seconds
        while True:
            self.c.socket.close()
            with contextlib.suppress(*LOST, FileNotFoundError):
                self.c = sc.Client(self.address)
                hello = self.c.hello()
                sc.trust([hello[key] for key in ("boot_id", "instance")]
                         == [self.hello[key] for key in ("boot_id", "instance")], "another guestd")
                return
            if time.monotonic() > deadline:
                raise sc.Lost(message="not back in time")
            time.sleep(0.01)

    def call(self, method, /, **params):
        """A call that §14.7 has as harmless; an exec gets a key."""
        if method == "exec":
            params.setdefault("key", uuid.uuid4().hex)
        while True:
            try:
                return self.c.call(method, **params)
            except LOST:
                self.renew()

    def input(self, data, piece=5000, **selector):
        """All of `data` by process.input, always with `off`."""
        off = self.call("process.input", data=b"", **selector)["off"]
        begin, end = off, off + len(data)
        while off < end:
            try:
                r = self.call("process.input", data=data[off - begin:off - begin + piece], off=off, **selector)
            except sc.AgentError as e:
                if e.code != "busy":
                    raise
                time.sleep(0.01)
                continue
            off = r["off"]
            if r.get("closed"):
                return False
        return True

    def stream(self, method, /, **params):
        return Told(self, method, params)


class Told:
    """A stream over as many connections as it takes: `data` by channel, each byte once; `gaps` are what is lost."""

    def __init__(self, steady, method, params):
        self.steady, self.method, self.params = steady, method, dict(params)
        if method == "exec":
            self.params.setdefault("key", uuid.uuid4().hex)
        self.data, self.gaps = collections.defaultdict(bytearray), []
        self.off = {}   # by channel: the next byte
        self.stdin, self.sent, self.ended = bytearray(), 0, False
        self.begin()

    def begin(self):
        while True:  # another stream may have renewed the connection already
            try:
                self.call = self.steady.c.start(self.method, **self.params)
                self.call.heard = self.heard
                self.call.until(lambda: self.call.events or self.call.done)
                break
            except LOST:
                self.steady.renew()
        started = self.call.events[0] if self.call.events else {}
        for ch, off in started.get("from", {}).items():
            self.off.setdefault(ch, off)
        self.sent = started.get("stdin", 0)

    def again(self):
        while True:
            if self.call.client is self.steady.c:  # else another stream has renewed it
                self.steady.renew()
            if self.method == "process.attach":
                self.params["from"] = dict(self.off)
            self.begin()
            try:
                return self.feed()  # what was under way, too, may be lost
            except LOST:
                pass

    def heard(self, ch, off, end, data):
        """Drops what lies below the offset that was reached."""
        at = self.off.setdefault(ch, 0)
        sc.trust(off <= at, f"{ch} goes on at {off}, not at {at}")
        if end > at:
            self.off[ch] = end
            if data is None:
                self.gaps.append((ch, at, end))
            else:
                self.data[ch] += data[at - off:]

    def wait(self, timeout=60):
        while True:
            try:
                return self.call.wait(timeout)
            except LOST:
                self.again()

    def type(self, data, end=False):
        """stdin, by stream.data: all that was sent is kept here, and goes on from what `started` says was taken."""
        self.stdin += data
        self.ended = end
        try:
            self.feed()
        except LOST:
            self.again()

    def feed(self):
        self.call.upload(bytes(self.stdin[self.sent:]))
        self.sent = len(self.stdin)
        if self.ended:
            self.call.end()
