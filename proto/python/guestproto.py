"""The client of guestd for Python hosts, shaped like the SDK that users of capsules know.

    from guestproto import connect

    with connect("vsock:3:1024", token="…") as capsule:
        result = capsule.commands.run("echo hello")
        print(result.stdout, result.exit_code)
        capsule.files.write("/app/main.py", "print('hi')")
        for entry in capsule.files.list("/app"):
            print(entry.name, entry.size)

Every method and field of proto/PROTOCOL.md is reachable: keyword arguments go to the wire under their own names, and
`client.call("any.method", …)` passes anything. Errors are GuestError, one subclass a code (`guestproto.NotFound`).
Needs python3-msgpack; the modules beside this one are its wire and its connection.
"""

import base64
import hashlib

import guestproto_wire as _wire
from guestproto_connection import CHUNK, WINDOW, Connection, Data, End, Event, Gap, Request
from guestproto_wire import (MAX_FRAME, ConnectionLost, GuestError, WireError, decode_frame, encode_frame,
                             open_address)

InvalidRequest, WrongType, Unauthenticated, PermissionDenied, NotFound, AlreadyExists, Busy, TooLarge, LimitExceeded, \
    Cancelled, Internal, Unsupported, Timeout, NoSpace = (_wire.ERRORS[name] for name in (
        "invalid_request", "wrong_type", "unauthenticated", "permission_denied", "not_found", "already_exists", "busy",
        "too_large", "limit_exceeded", "cancelled", "internal", "unsupported", "timeout", "no_space"))

__all__ = ["connect", "Client", "Result", "Entry", "Process", "Connection", "Request", "Event", "Data", "Gap", "End",
           "GuestError", "ConnectionLost", "WireError", "decode_frame", "encode_frame", "open_address",
           "InvalidRequest", "WrongType", "Unauthenticated", "PermissionDenied", "NotFound", "AlreadyExists", "Busy",
           "TooLarge", "LimitExceeded", "Cancelled", "Internal", "Unsupported", "Timeout", "NoSpace"]

ONE_FRAME = 256 << 10  # files up to here are written in one request


def connect(address, token=None, timeout=None):
    """Connects to `address` (PROTOCOL.md, "Addresses"), says hello, and returns a Client. `timeout`: seconds for each."""
    connection = Connection(open_address(address, timeout))
    try:
        client = Client(connection)
        client.greet(token=token, timeout=timeout)
    except BaseException:
        connection.close()
        raise
    return client


class _Fields:
    """A result map, its fields as attributes; `.fields` is the map itself."""

    def __init__(self, fields):
        self.fields = fields

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __eq__(self, other):
        return isinstance(other, _Fields) and self.fields == other.fields

    def __repr__(self):
        return "%s(%r)" % (type(self).__name__, self.fields)


class Result(_Fields):
    """What an exec came to: stdout, stderr, exit_code, duration_ms, encoding, reason, …"""

    def output(self, channel="stdout"):
        """The bytes of a captured stream, whatever `encoding` they travelled in."""
        text = self.fields[channel]
        if isinstance(text, bytes):
            return text
        return base64.b64decode(text) if self.encoding == "base64" else text.encode()


class Entry(_Fields):
    """A file: name, path, type, size, mode, permissions, owner, group, modified_at, symlink_target."""


class Process(_Fields):
    """A process's record, or the handle that a background run returns: pid and tag at least."""

    def __init__(self, fields, commands):
        super().__init__(fields)
        self._commands = commands

    def wait(self, timeout=None, **params):
        return self._commands.wait(pid=self.pid, timeout=timeout, **params)

    def kill(self, signal=None, **params):
        return self._commands.kill(pid=self.pid, signal=signal, **params)


class ExecStream:
    """A streamed exec: iterate for its Event, Data, Gap and End items; `.result()` waits for how it ended."""

    def __init__(self, request):
        self.request = request

    def __iter__(self):
        return iter(self.request)

    def result(self, timeout=None):
        return Result(self.request.result(timeout))

    def cancel(self):
        self.request.cancel()


class Client:
    """One connection. Threads may share it; requests from all of them are in flight side by side."""

    def __init__(self, connection):
        self.connection = connection
        self.hello_result = None
        self.commands = Commands(self)
        self.files = Files(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def call(self, method, **params):
        """Sends a request and waits for its result map. None is left out; raises GuestError or ConnectionLost."""
        return self.start(method, **params).result()

    def start(self, method, auto_credit=True, **params):
        """Sends a request; returns its Request, to be iterated, cancelled or waited for."""
        params = {key: value for key, value in params.items() if value is not None}
        window = params.get("window", WINDOW)
        return self.connection.start(method, params, window if isinstance(window, int) else WINDOW, auto_credit)

    def hello(self):
        """What the agent said of itself: protocol, version, capabilities, limits, …"""
        return self.hello_result or self.greet()

    def greet(self, token=None, timeout=None, name="guestproto.py"):
        """Says hello (again), shows the token, and takes over the agent's limits."""
        hello = self.start("hello", protocol=1, client=name, token=token,
                           max_frame=self.connection.max_frame).result(timeout)
        limits = hello.get("limits", {})
        for name, attribute in (("max_frame", "agent_frame"), ("stream_credit", "stream_credit")):
            if type(limits.get(name)) is int:
                setattr(self.connection, attribute, limits[name])
        self.hello_result = hello
        return hello

    def ping(self, touch=None):
        return self.call("ping", touch=touch)

    def info(self):
        return self.call("info")

    def shutdown(self, mode="poweroff", grace=None):
        return self.call("shutdown", mode=mode, grace=grace)


class Commands:
    """Processes in the capsule."""

    def __init__(self, client):
        self._client = client

    def run(self, cmd, args=None, **params):
        """Runs a program and waits: a Result; with background=True a Process at once.

        Without `args`, `cmd` is a line for /bin/sh, as in the published SDK; with them (an empty list too) a program,
        and no shell.
        """
        if args is None:
            cmd, args = "/bin/sh", ["-c", cmd]
        if isinstance(params.get("stdin"), str):
            params["stdin"] = params["stdin"].encode()
        fields = self._client.call("exec", cmd=cmd, args=list(args), **params)
        return Process(fields, self) if params.get("background") else Result(fields)

    def exec_stream(self, cmd, args=None, **params):
        """The same, its output as it comes: an ExecStream."""
        if args is None:
            cmd, args = "/bin/sh", ["-c", cmd]
        return ExecStream(self._client.start("exec", cmd=cmd, args=list(args), stream=True, **params))

    def list(self, exited=None):
        records = self._client.call("process.list", exited=exited)["processes"]
        return [Process(record, self) for record in records]

    def get(self, pid=None, tag=None):
        return Process(self._client.call("process.get", pid=pid, tag=tag), self)

    def wait(self, pid=None, tag=None, timeout=None, **params):
        return Result(self._client.call("process.wait", pid=pid, tag=tag, timeout=timeout, **params))

    def kill(self, pid=None, tag=None, signal=None, scope=None):
        self._client.call("process.kill", pid=pid, tag=tag, signal=signal, scope=scope)


class Files:
    """Files in the capsule. Paths are absolute: str, or bytes where they are no UTF-8."""

    def __init__(self, client):
        self._client = client

    def write(self, path, data, **params):
        """Writes a whole file, atomically unless params say otherwise; returns its Entry."""
        if isinstance(data, str):
            data = data.encode()
        if len(data) > ONE_FRAME:
            return self.upload_stream(path, [data], size=len(data), **params)
        return Entry(self._client.call("file.write", path=path, data=bytes(data), **params)["entry"])

    def upload_stream(self, path, chunks, **params):
        """Writes a file from an iterable of bytes; `size=` and `sha256=`, where known, are checked before it is there."""
        request = self._client.start("file.write", path=path, stream=True, **params)
        try:
            for chunk in chunks:
                request.send(chunk)
            request.end()
        except GuestError:
            raise
        except BaseException:
            request.cancel()
            raise
        return Entry(request.result()["entry"])

    def upload(self, path, local, **params):
        """Uploads a local file with its size and sha256, so that nothing else is ever published."""
        digest, size = hashlib.sha256(), 0
        with open(local, "rb") as file:
            for chunk in iter(lambda: file.read(CHUNK), b""):
                digest.update(chunk)
                size += len(chunk)
            file.seek(0)
            return self.upload_stream(path, iter(lambda: file.read(CHUNK), b""), size=size,
                                      sha256=digest.hexdigest(), **params)

    def read(self, path, **params):
        """A file's bytes."""
        return b"".join(self.download_stream(path, **params))

    def download_stream(self, path, **params):
        """A file's bytes as they come."""
        request = self._client.start("file.read", path=path, stream=True, **params)
        try:
            for item in request:
                if isinstance(item, Data):
                    yield item.data
            request.result()
        finally:
            request.cancel()

    def list(self, path, depth=None, **params):
        """The entries below a directory, all of them: streamed, so that no tree is too large."""
        return list(self.list_stream(path, depth=depth, **params))

    def list_stream(self, path, **params):
        request = self._client.start("file.list", path=path, stream=True, **params)
        try:
            for item in request:
                if isinstance(item, Event) and item.event == "entries":
                    yield from map(Entry, item.fields["entries"])
            request.result()
        finally:
            request.cancel()

    def stat(self, path, follow=None):
        return Entry(self._client.call("file.stat", path=path, follow=follow)["entry"])

    def exists(self, path):
        try:
            self.stat(path)
        except (NotFound, WrongType):  # a missing name, or a file where a directory was meant
            return False
        return True

    def make_dir(self, path, **params):
        return Entry(self._client.call("file.mkdir", path=path, **params)["entry"])

    def remove(self, path, missing_ok=None):
        """Removes a file or a whole tree; returns how many entries that were."""
        return self._client.call("file.remove", path=path, missing_ok=missing_ok)["removed"]
