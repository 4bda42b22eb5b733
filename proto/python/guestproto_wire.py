"""The wire of guestd for Python: frames, errors and addresses (proto/PROTOCOL.md).

Pure functions and exceptions; guestproto_connection.py holds the socket. A frame is judged as the C decoder judges it,
because both ends treat the other as hostile; proto/vectors/ keeps the two in step.
"""

import re
import socket
import struct

import msgpack

MAX_FRAME = 64 << 20       # largest body this client takes; told in hello
AGENT_FRAME = (1 << 20) + (64 << 10)  # largest body an agent takes, unless its hello says otherwise
NESTING = 16
MAX_OBJECTS = 256 << 10
U32 = 0xFFFFFFFF
HEADER = struct.Struct(">I")

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2


class WireError(Exception):
    """A frame that PROTOCOL.md does not allow: the connection it came from is lost."""


class ConnectionLost(ConnectionError):
    """The connection ended. `code` and `message` are the agent's `protocol.error`, or None. `final`: connecting again
    would not help, or the other end is not to be trusted."""

    def __init__(self, why, code=None, message=None, final=False):
        super().__init__(why)
        self.code = code
        self.message = message
        self.final = final


class GuestError(Exception):
    """An answer that is an error. A code this client does not know is an Internal with that code kept."""

    code = "internal"

    def __init__(self, message, code=None, errno=None, field=None, data=None):
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.errno = errno
        self.field = field
        self.data = data

    def __str__(self):
        where = " (%s)" % self.field if self.field else ""
        return "%s%s: %s" % (self.code, where, self.message)


def _error_class(name):
    title = "".join(word.capitalize() for word in name.split("_"))
    return type(title, (GuestError,), {"code": name, "__doc__": "The error code `%s`." % name})


ERRORS = {name: _error_class(name) for name in (
    "invalid_request", "wrong_type", "unauthenticated", "permission_denied", "not_found", "already_exists", "busy",
    "too_large", "limit_exceeded", "cancelled", "internal", "unsupported", "timeout", "no_space")}


def error_from_wire(error):
    """The exception for a response's error map; whatever has the wrong type in it is left out."""
    def of(key, kind):
        value = error.get(key)
        return value if type(value) is kind else None

    code = of("code", str) or "internal"
    return ERRORS.get(code, ERRORS["internal"])(
        of("message", str) or code, code=code, errno=of("errno", int), field=of("field", str), data=of("data", dict))


def _check_nesting(root):
    """At most NESTING levels and MAX_OBJECTS objects of the types that the protocol has."""
    level, depth, objects = [root], 0, 1
    scalars = (str, bytes, int, bool, float, type(None))
    while level:
        depth += 1
        if depth > NESTING:
            raise WireError("nested over %d levels" % NESTING)
        inner = []
        for container in level:
            # A key can't be a container: msgpack refuses what Python can't hash.
            items = container.values() if type(container) is dict else container
            objects += len(container) * (2 if type(container) is dict else 1)
            for item in items:
                if type(item) in (dict, list):
                    inner.append(item)
                elif type(item) not in scalars:
                    raise WireError("an extension type")
        if objects > MAX_OBJECTS:
            raise WireError("over %d objects" % MAX_OBJECTS)
        level = inner


def _is_u32(value):
    return type(value) is int and 0 <= value <= U32


def decode_body(body):
    """The message in one frame's body, as its list; raises WireError for anything else."""
    try:
        root = msgpack.unpackb(body, raw=False, strict_map_key=False, max_array_len=MAX_OBJECTS,
                               max_map_len=MAX_OBJECTS // 2, max_ext_len=0)
    except Exception as error:  # msgpack has a dozen classes for it, some of them plain ValueError and TypeError
        raise WireError("no MessagePack: %s %s" % (type(error).__name__, error)) from None
    if type(root) is not list or not root:
        raise WireError("no message")
    _check_nesting(root)

    kind = root[0]
    if type(kind) is not int:
        raise WireError("no message kind")
    if kind == REQUEST and len(root) == 4:
        if _is_u32(root[1]) and type(root[2]) is str and type(root[3]) is dict:
            return root
    elif kind == RESPONSE and len(root) == 4:
        given = [half for half in root[2:] if half is not None]
        if _is_u32(root[1]) and len(given) == 1 and type(given[0]) is dict:
            return root
    elif kind == NOTIFICATION and len(root) == 3:
        if type(root[1]) is str and type(root[2]) is dict:
            return root
    raise WireError("a message of no known shape")


def decode_frame(frame, max_frame=MAX_FRAME):
    """The message in one whole frame, header included; raises WireError unless it is exactly one good frame."""
    if len(frame) < HEADER.size:
        raise WireError("no whole header")
    (length,) = HEADER.unpack_from(frame)
    if length > max_frame:
        raise WireError("a frame of %d bytes, over %d" % (length, max_frame))
    if length != len(frame) - HEADER.size:
        raise WireError("a length that lies")
    return decode_body(frame[HEADER.size:])


def encode_frame(message):
    body = msgpack.packb(message, use_bin_type=True)
    return HEADER.pack(len(body)) + body


_PORT = re.compile(r"[0-9]{1,10}")


def _port(text, top):
    if not _PORT.fullmatch(text) or int(text) > top:
        raise ValueError("not a port: %r" % text)
    return int(text)


def parse_address(address):
    """(family, …) of an address in the one syntax of PROTOCOL.md; raises ValueError."""
    family, _, rest = address.partition(":")
    if family == "vsock":
        cid, _, port = rest.rpartition(":")
        return "vsock", _port(cid, U32) if cid else 1, _port(port, U32)
    if family == "unix" and rest.startswith("/"):
        return "unix", rest
    if family == "tcp":
        host, _, port = rest.rpartition(":")
        if host:
            return "tcp", host.strip("[]"), _port(port, 65535)
    if family == "fd":
        return "fd", _port(rest, 0x7FFFFFFF)
    if family == "firecracker":
        path, _, port = rest.rpartition(":")
        if path.startswith("/"):
            return "firecracker", path, _port(port, U32)
    raise ValueError("not an address: %r" % address)


def _unix(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _firecracker(path, port, timeout):
    """The hypervisor's own handshake: `CONNECT PORT`, answered by `OK n`. Read a byte at a time: what follows the line
    is the guest's."""
    sock = _unix(path)
    try:
        sock.settimeout(timeout)
        sock.sendall(b"CONNECT %d\n" % port)
        line = b""
        while not line.endswith(b"\n") and len(line) < 64:
            byte = sock.recv(1)
            if not byte:
                break
            line += byte
        if not re.fullmatch(rb"OK [0-9]+\n", line):
            raise ConnectionLost("the hypervisor refused port %d: %r" % (port, line))
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


def open_address(address, timeout=None):
    """A connected, blocking socket. `timeout` in seconds holds for connecting only. Raises ValueError or OSError."""
    parts = parse_address(address)
    if parts[0] == "unix":
        return _unix(parts[1])
    if parts[0] == "firecracker":
        return _firecracker(parts[1], parts[2], timeout)
    if parts[0] == "fd":
        sock = socket.socket(fileno=parts[1])
    elif parts[0] == "tcp":
        sock = socket.create_connection(parts[1:], timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(parts[1:])
        except BaseException:
            sock.close()
            raise
    sock.settimeout(None)
    return sock
