"""Programs in the capsule: what `capsule.commands` is, and the handles it gives (proto/PROTOCOL.md, section 9)."""

import base64
import time
import uuid

from guestproto_connection import WINDOW
from guestproto_resume import Stream, StreamInput
from guestproto_wire import ERRORS, ConnectionLost, GuestError

MAX_OUTPUT = 1 << 20   # what a streamed exec keeps, unless it says otherwise
PIECE = 64 << 10       # of stdin, one process.input
BUSY_PAUSE = 0.002, 0.1


class Fields:
    """A result map, its fields as attributes; `.fields` is the map itself."""

    def __init__(self, fields):
        self.fields = fields

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __eq__(self, other):
        return isinstance(other, Fields) and self.fields == other.fields

    def __repr__(self):
        return "%s(%r)" % (type(self).__name__, self.fields)


class Result(Fields):
    """What an exec came to: stdout, stderr, exit_code, duration_ms, encoding, reason, …"""

    def output(self, channel="stdout"):
        """The bytes of a captured stream, whatever `encoding` they travelled in."""
        text = self.fields[channel]
        if isinstance(text, bytes):
            return text
        return base64.b64decode(text) if self.encoding == "base64" else text.encode()


class Process(Fields):
    """A process's record, or the handle that a background run returns: pid and tag at least."""

    def __init__(self, fields, commands):
        super().__init__(fields)
        self._commands = commands

    def get(self):
        """Its record as it is now."""
        return self._commands.get(pid=self.pid)

    def wait(self, timeout=None, **params):
        return self._commands.wait(pid=self.pid, timeout=timeout, **params)

    def kill(self, signal=None, **params):
        return self._commands.kill(pid=self.pid, signal=signal, **params)

    def attach(self, start=None, **params):
        return self._commands.attach(pid=self.pid, start=start, **params)

    def stdin(self):
        return self._commands.stdin(pid=self.pid)

    def input(self, data, off=None):
        return self._commands.input(data, pid=self.pid, off=off)

    def close_stdin(self):
        self._commands.close_stdin(pid=self.pid)

    def resize(self, rows, cols):
        self._commands.resize(rows, cols, pid=self.pid)

    def forget(self):
        self._commands.forget(pid=self.pid)


class Stdin:
    """Writes a process's stdin, each part under its offset, so that a lost connection neither loses nor repeats a byte.
    For the only writer of that stdin: bytes of another would take the offsets of its own."""

    def __init__(self, commands, selector):
        self._commands, self._selector = commands, selector
        self.off = None       # of the byte that comes next; None: not asked yet
        self.closed = False   # the program reads no more

    def write(self, data, timeout=None):
        """All of `data`, waiting for room; False once the program reads no more. Raises Busy when no room comes in
        `timeout` seconds: `off` says how far it came."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self.off is None:
            self._took(self._commands.input(b"", **self._selector), None)
        view = memoryview(data).cast("B")
        while view and not self.closed:
            piece, view = bytes(view[:PIECE]), view[PIECE:]
            self._write(piece, deadline)
        return not self.closed

    def _write(self, piece, deadline):
        pause, top = BUSY_PAUSE
        while True:
            try:
                return self._took(self._commands.input(piece, off=self.off, **self._selector), self.off + len(piece))
            except ERRORS["busy"]:
                if deadline is not None and time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, top)

    def _took(self, answer, wanted):
        self.closed = bool(answer.get("closed"))
        off = answer.get("off")
        if type(off) is not int or (wanted is not None and off != wanted and not self.closed):
            raise GuestError("stdin is at %r, not at %r: somebody else writes it too" % (off, wanted))
        self.off = off

    def close(self):
        """EOF; on a terminal, the character that means it."""
        self._commands.close_stdin(**self._selector)


class LiveStream:
    """What a program writes, as it comes: iterate for Event, Data, Gap and End items. A lost connection is resumed."""

    def __init__(self, commands, stream):
        self._commands = commands
        self.stream = stream

    def __iter__(self):
        return iter(self.stream)

    def next(self, timeout=None):
        """The next item; None at the end. Raises TimeoutError."""
        return self.stream.next(timeout)

    @property
    def request(self):
        return self.stream.request

    @property
    def at(self):
        """Channel → offset of the byte that comes next."""
        return dict(self.stream.at)

    def process(self, timeout=None):
        """The program, once it runs: a Process. Raises the error that kept it from starting."""
        return Process(self.stream.started(timeout), self._commands)

    def result(self, timeout=None):
        return Result(self.stream.result(timeout))

    def cancel(self):
        self.stream.cancel()


class ExecStream(LiveStream):
    """A streamed exec: `.result()` waits for how it ended. With stdin_open or pty: `send` and `end` are its stdin."""

    def send(self, data):
        """Bytes for stdin, or keys typed; waits for credit. Kept until they are the program's."""
        (self.stream.input or StreamInput(self.stream)).send(data)

    def end(self):
        (self.stream.input or StreamInput(self.stream)).end()

    def resize(self, rows, cols):
        self.process().resize(rows, cols)


class Attached(LiveStream):
    """A reader of a process that runs or has run; `.result()` is its record, once it has exited. `cancel` ends this
    reader alone."""


class Commands:
    """Processes in the capsule. A selector is `pid` or `tag`."""

    def __init__(self, client):
        self._client = client

    # ── start ──

    def _exec(self, cmd, args, params):
        """Without `args`, `cmd` is a line for /bin/sh. Where the connection can be made anew, the run has a key."""
        if args is None:
            cmd, args = "/bin/sh", ["-c", cmd]
        if isinstance(params.get("stdin"), str):
            params["stdin"] = params["stdin"].encode()
        if params.get("key") is None and self._client.keeps_keys():
            params["key"] = uuid.uuid4().hex
        return dict(params, cmd=cmd, args=list(args))

    def run(self, cmd, args=None, **params):
        """Runs a program and waits: a Result; with background=True a Process at once.

        Without `args`, `cmd` is a line for /bin/sh, as in the published SDK; with them (an empty list too) a program,
        and no shell.
        """
        params = self._exec(cmd, args, params)
        ask = self._client.repeat if params.get("key") is not None else self._client.call
        fields = ask("exec", **params)
        return Process(fields, self) if params.get("background") else Result(fields)

    def exec_stream(self, cmd, args=None, **params):
        """The same, its output as it comes: an ExecStream."""
        params = self._exec(cmd, args, params)
        params["stream"] = True
        if params.get("window") is None:  # so small that what is under way is still kept when the agent dies
            kept = params.get("max_output")
            params["window"] = max(1, min(WINDOW, (kept if type(kept) is int else MAX_OUTPUT) // 2))
        again = (lambda stream: params) if params.get("key") is not None else None
        return ExecStream(self, Stream(self._client, "exec", params, again, begin={}))

    def terminal(self, cmd, args=None, rows=24, cols=80, term=None, **params):
        """A program on a terminal: an ExecStream whose one channel is `pty`."""
        size = {"rows": rows, "cols": cols}
        return self.exec_stream(cmd, args, pty=dict(size, term=term) if term else size, **params)

    # ── find ──

    def list(self, exited=None):
        records = self._client.repeat("process.list", exited=exited)["processes"]
        return [Process(record, self) for record in records]

    def get(self, pid=None, tag=None):
        return Process(self._client.repeat("process.get", pid=pid, tag=tag), self)

    def attach(self, pid=None, tag=None, start=None, window=None):
        """What a process writes, from `start`: "start" (the oldest byte kept), "now", or offsets by channel."""
        def params(stream):
            return {"pid": pid, "tag": tag, "from": dict(stream.at) or start, "window": window}

        first = {"pid": pid, "tag": tag, "from": start, "window": window}
        return Attached(self, Stream(self._client, "process.attach", first, params))

    connect = attach  # its name in the published SDK

    # ── end ──

    def wait(self, pid=None, tag=None, timeout=None, **params):
        deadline = None if timeout is None else time.monotonic() + timeout

        def again():
            left = None if deadline is None else max(0, deadline - time.monotonic())
            return dict(params, pid=pid, tag=tag, timeout=left)
        return Result(self._client.repeating("process.wait", again))

    def kill(self, pid=None, tag=None, signal=None, scope=None):
        """A SIGKILL is sent again where the answer was lost; who got another signal once is not sent it twice."""
        params = dict(pid=pid, tag=tag, signal=signal, scope=scope)
        if signal not in (None, 9, "KILL", "SIGKILL"):
            self._client.call("process.kill", **params)
            return
        connection = self._client.connection
        try:
            self._client.repeat("process.kill", **params)
        except ERRORS["not_found"]:
            if self._client.connection is connection:
                raise  # else it died of the first one

    def forget(self, pid=None, tag=None):
        """Drops an exited process's record, output and key."""
        self._client.call("process.forget", pid=pid, tag=tag)

    # ── stdin and terminal ──

    def stdin(self, pid=None, tag=None):
        """A Stdin, for the only writer of that process's stdin."""
        return Stdin(self, {"pid": pid, "tag": tag})

    def input(self, data, pid=None, tag=None, off=None):
        """One process.input; its result map. With `off` it may be repeated, and is when the connection is lost."""
        data = data.encode() if isinstance(data, str) else bytes(data)
        ask = self._client.call if off is None and data else self._client.repeat
        return ask("process.input", pid=pid, tag=tag, data=data, off=off)

    def close_stdin(self, pid=None, tag=None):
        self._client.repeat("process.close_stdin", pid=pid, tag=tag)

    def resize(self, rows, cols, pid=None, tag=None):
        self._client.repeat("process.resize", rows=rows, cols=cols, pid=pid, tag=tag)
