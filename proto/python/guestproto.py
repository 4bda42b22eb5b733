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

import time

import guestproto_wire as _wire
from guestproto_connection import Connection, Data, End, Event, Gap, Request
from guestproto_files import Entry, Files
from guestproto_process import Attached, Commands, ExecStream, Process, Result, Stdin
from guestproto_resume import RESUME, Line
from guestproto_wire import ConnectionLost, GuestError, WireError, decode_frame, encode_frame, open_address

InvalidRequest, WrongType, Unauthenticated, PermissionDenied, NotFound, AlreadyExists, Busy, TooLarge, LimitExceeded, \
    Cancelled, Internal, Unsupported, Timeout, NoSpace = (_wire.ERRORS[name] for name in (
        "invalid_request", "wrong_type", "unauthenticated", "permission_denied", "not_found", "already_exists", "busy",
        "too_large", "limit_exceeded", "cancelled", "internal", "unsupported", "timeout", "no_space"))

__all__ = ["connect", "Client", "Result", "Entry", "Process", "ExecStream", "Attached", "Stdin", "Connection", "Request",
           "Event", "Data", "Gap", "End", "GuestError", "ConnectionLost", "WireError", "decode_frame", "encode_frame",
           "open_address", "InvalidRequest", "WrongType", "Unauthenticated", "PermissionDenied", "NotFound",
           "AlreadyExists", "Busy", "TooLarge", "LimitExceeded", "Cancelled", "Internal", "Unsupported", "Timeout",
           "NoSpace"]


def connect(address, token=None, timeout=None, resume=RESUME, resumed=None):
    """Connects to `address` (PROTOCOL.md, "Addresses"), says hello, and returns a Client. `timeout`: seconds for each.

    A connection that is lost is made anew for `resume` seconds (0: never), and what was under way goes on there; the
    callback `resumed(text)` is told, or the logger `guestproto`. An inherited socket (`fd:`) can't be made anew.
    """
    def reopen(left):
        return open_address(address, left if timeout is None else min(left, timeout))

    connection = Connection(open_address(address, timeout))
    try:
        client = Client(connection, None if address.startswith("fd:") else reopen, token, resume, resumed)
        client.greet(timeout=timeout)
    except BaseException:
        connection.close()
        raise
    return client


def _map(value):
    return value if type(value) is dict else {}


class Client(Line):
    """One connection at a time. Threads may share it; requests from all of them are in flight side by side."""

    def __init__(self, connection, reopen=None, token=None, resume=RESUME, resumed=None):
        super().__init__(connection, reopen, resume, resumed)
        self._token = token
        self.commands = Commands(self)
        self.files = Files(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, method, **params):
        """Sends a request, once, and waits for its result map. None is left out; raises GuestError or ConnectionLost."""
        return self.start(method, **params).result()

    def hello(self):
        """What the agent said of itself: protocol, version, capabilities, limits, …"""
        return self.hello_result or self.greet()

    def greet(self, token=None, timeout=None, name="guestproto.py"):
        """Says hello (again), shows the token, and takes over the agent's limits."""
        self._token = token or self._token
        self.hello_result = self.greet_on(self.connection, timeout, name)
        return self.hello_result

    def greet_on(self, connection, timeout=None, name="guestproto.py"):
        params = {"protocol": 1, "client": name, "max_frame": connection.max_frame}
        if self._token is not None:
            params["token"] = self._token
        hello = connection.start("hello", params).result(timeout)
        limits = _map(hello.get("limits"))
        for limit, attribute in (("max_frame", "agent_frame"), ("stream_credit", "stream_credit")):
            if type(limits.get(limit)) is int:
                setattr(connection, attribute, limits[limit])
        return hello

    def keeps_keys(self):
        """Is a run that is sent again under its key one run, here?"""
        methods = _map(_map(self.hello_result).get("capabilities")).get("methods")
        known = type(methods) is list and "process.attach" in methods and "process.forget" in methods
        return known and self.resumes

    def ping(self, touch=None):
        return self.repeat("ping", touch=touch)

    def info(self):
        return self.repeat("info")

    def metrics(self):
        """How much of the capsule's processors, memory and disk is in use."""
        return self.repeat("metrics")

    def shutdown(self, mode="poweroff", grace=None):
        return self.call("shutdown", mode=mode, grace=grace)

    def upgrade(self, path, sha256, supervisor=None, timeout=30):
        """Replaces the running guestd by the executable at `path` in the capsule, and waits for what came of it: `info`'s
        `upgrade` map, its `state` `done` or `rolled_back`."""
        before = self.info().get("upgrade")
        try:
            self.call("upgrade", path=path, sha256=sha256, supervisor=supervisor)
        except ConnectionLost:
            pass  # the answer, or the request: `info` knows
        deadline = time.monotonic() + timeout
        while True:
            now = _map(self.info().get("upgrade"))
            if now != before and now.get("state") in ("done", "rolled_back"):
                return now
            if time.monotonic() > deadline:
                raise TimeoutError("upgrade: %s after %s s" % (now.get("state"), timeout))
            time.sleep(0.01)
