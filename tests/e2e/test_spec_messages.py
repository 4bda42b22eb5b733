"""Frames, messages, values, vectors: §2, §3, §4, §12, §13 of PROTOCOL.md, asked with the client of its text alone."""

import os
import pathlib
import re
import select
import socket
import time

import msgpack
import pytest

import spec_client as sc
from spec_rig import spec_conn, spec_dir, spec_guestd  # noqa: F401 (fixtures)
from spec_rig import flaw, lost, running

VECTORS = pathlib.Path(__file__).parents[2] / "proto" / "vectors"
LATER = ("file.move file.set file.archive file.watch configure prepare_snapshot resume port.list port.connect "
         "log").split()


def vectors(kind):
    return sorted(p.name for p in VECTORS.glob(f"*.{kind}.hex"))


def vector(name):
    """What a vector's first line says of it, and its bytes."""
    lines = (VECTORS / name).read_text().splitlines()
    return lines[0].lstrip("# "), bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


@pytest.mark.parametrize("name", vectors("ok") + vectors("bad"))
def test_the_vectors_and_this_client_agree(name):
    what, data = vector(name)
    if name.endswith(".ok.hex"):
        assert len(data) == 4 + int.from_bytes(data[:4], "big")
        m = sc.parse(data[4:])
        assert what == ("request", "response", "notification")[m[0]] + ("" if m[0] == 1 else f" {m[-2]}")
    else:
        a, b = socket.socketpair()
        with sc.Client(a, max_frame=1114112) as c, b:
            b.sendall(data)
            with pytest.raises(TimeoutError if "INCOMPLETE" in what else sc.Untrusted):
                c.read(time.monotonic() + (0.05 if "INCOMPLETE" in what else 5))


@pytest.mark.parametrize("name", vectors("bad"))
def test_bad_vectors_at_the_agent(spec_guestd, spec_conn, name):
    what, data = vector(name)
    with spec_guestd.connect() as c:
        c.send_raw(data)
        if what == "error: FRAME_INCOMPLETE":
            spec_conn.call("ping")
            assert not select.select([c.socket], [], [], 0.2)[0]
        elif what in ("error: MESSAGE_METHOD", "error: MESSAGE_PARAMS"):
            kind, _, e, result = c.read(time.monotonic() + 10)
            assert (kind, e["code"], e["field"], result) == (1, "invalid_request", what[15:].lower(), None)
            c.call("ping")
        else:
            assert lost(c) == ("too_large" if what == "error: FRAME_EMSGSIZE" else "invalid_request")
    spec_conn.call("ping")


@pytest.mark.parametrize("name, expected", [
    ("wide.request.ok.hex", None),
    ("duplicate-key.request.ok.hex", ("invalid_request", "touch")),
    ("nan.request.ok.hex", ("invalid_request", "timeout")),
    ("nesting-16.request.ok.hex", ("invalid_request", "x")),
    ("unknown-method.request.ok.hex", ("unsupported", "method")),
])
def test_odd_but_right_requests_are_answered(spec_guestd, name, expected):
    with spec_guestd.connect() as c:
        c.send_raw(vector(name)[1])
        kind, _, e, _ = c.read(time.monotonic() + 10)
        assert kind == 1 and (e and (e["code"], e["field"])) == expected
        c.call("ping")


def not_for_the_agent():
    right = {"stream.cancel.ok.hex", "stream.credit.ok.hex", "stream.data.upload.ok.hex", "stream.end.client.ok.hex"}
    return [name for name in vectors("ok") if not vector(name)[0].startswith("request") and name not in right]


@pytest.mark.parametrize("name", not_for_the_agent())
def test_what_only_the_agent_says_ends_the_connection(spec_guestd, name):
    with spec_guestd.connect() as c:
        c.send_raw(vector(name)[1])
        assert lost(c) == "invalid_request"


@pytest.mark.parametrize("code, body", [
    pytest.param("invalid_request", [2, "stream.credit", {"id": 1}], id="missing"),
    pytest.param("invalid_request", [2, "stream.credit", {"id": 1, "bytes": 1, "x": None}], id="unknown"),
    pytest.param("invalid_request", b"\x93\x02\xadstream.cancel\x82\xa2id\x01\xa2id\x01", id="repeated"),
    pytest.param("invalid_request", [2, "stream.credit", {"id": 1, "bytes": -1}], id="negative bytes"),
    pytest.param("invalid_request", [2, "stream.credit", {"id": 1, "bytes": 1.0}], id="float bytes"),
    pytest.param("invalid_request", [2, "stream.data", {"id": 1, "data": 5}], id="int data"),
    pytest.param("invalid_request", [2, "stream.end", {"id": "1"}], id="str id"),
    pytest.param("invalid_request", [2, "stream.end", {"id": -1}], id="negative id"),
    pytest.param("invalid_request", [2, "ping", {}], id="no such notification"),
    pytest.param("invalid_request", [0, 1 << 32, "ping", {}], id="msgid of 33 bits"),
    pytest.param("too_large", [0, 1, "ping", {"x": [None] * (262144 - 6)}], id="262145 objects"),
    pytest.param("too_large", b"\0" * 1114113, id="a byte too long"),
])
def test_what_ends_a_connection_and_no_other(spec_guestd, spec_conn, code, body):
    with spec_guestd.connect() as c:
        c.send(body)
        assert lost(c) == code
    spec_conn.call("ping")


def test_the_largest_frame_and_the_most_objects_are_taken(spec_conn, spec_dir):
    assert flaw(spec_conn, "ping", x=[None] * (262144 - 7)) == ("invalid_request", "x")
    request = [0, 77, "file.write", {"path": str(spec_dir / "f"), "data": b""}]
    room = 1114112 - len(msgpack.packb(request)) - 3  # bin 32 has three bytes more of head than bin 8
    assert spec_conn.call("file.write", path=str(spec_dir / "f"), data=b"x" * room)["bytes"] == room
    assert os.path.getsize(spec_dir / "f") == room


def test_a_frame_may_come_in_pieces_and_two_in_one(spec_conn):
    spec_conn.calls[4000] = a = sc.Call(spec_conn, 4000, "ping", {}, True)
    spec_conn.calls[2**32 - 1] = b = sc.Call(spec_conn, 2**32 - 1, "ping", {}, True)
    both = sc.frame([0, 4000, "ping", {}]) + sc.frame([0, 2**32 - 1, "ping", {}])
    for i in range(len(both) // 2 + 3):
        spec_conn.send_raw(both[i:i + 1])
    spec_conn.send_raw(both[len(both) // 2 + 3:])
    a.wait(), b.wait()


def test_a_msgid_in_flight_is_refused_and_free_after_the_response(spec_guestd):
    with spec_guestd.client() as c:
        call = c.start("exec", cmd="cat", stdin=b"x")
        call.wait()
        c.calls[call.id] = again = sc.Call(c, call.id, "ping", {}, True)
        c.send([0, call.id, "ping", {}])
        again.wait()
        slow = c.start("exec", cmd="sleep", args=["1000"])
        c.send([0, slow.id, "ping", {}])
        assert lost(c) == "invalid_request"


def test_requests_start_in_order_and_run_side_by_side(spec_conn):
    slow = spec_conn.start("exec", cmd="sleep", args=["1000"])
    tags = [f"order-{i}" for i in range(12)]
    calls = [spec_conn.start("exec", cmd="sleep", args=["1000"], background=True, tag=tag) for tag in tags]
    assert [call.wait()["tag"] for call in calls] == tags
    assert [tag for tag in running(spec_conn) if tag.startswith("order-")] == tags
    for tag in tags:
        spec_conn.call("process.kill", tag=tag)
    assert not slow.done
    slow.cancel()
    slow.wait()


@pytest.mark.parametrize("method", LATER + ["no.such", "ready"])
def test_later_and_unknown_methods_are_unsupported(spec_conn, method):
    assert flaw(spec_conn, method, anything=1) == ("unsupported", "method")


# ---- §4 values ----


@pytest.mark.parametrize("params, field", [
    (dict(cmd="true", nonsense=None), "nonsense"),               # unknown, whatever its value
    (dict(cmd="true", user=5, cwd="x"), "user"),                 # the first in the order sent
    (dict(cmd="true", cwd="x", user=5), "cwd"),
    (dict(timeout=-1), "timeout"),                               # before what is missing
    (dict(args=[]), "cmd"),
    (dict(cmd=None), "cmd"),
    (dict(cmd="a\0b"), "cmd"),
    (dict(cmd="true", args=["a", 5]), "args"),
    (dict(cmd="true", envs={"": "x"}), "envs"),
    (dict(cmd="true", envs={"A=B": "x"}), "envs"),
    (dict(cmd="true", envs={"A": 1}), "envs"),
    (dict(cmd="true", cwd="relative"), "cwd"),
    (dict(cmd="true", cwd="/" + "x/" * 2100), "cwd"),
    (dict(cmd="true", timeout=float("nan")), "timeout"),
    (dict(cmd="true", timeout=float("inf")), "timeout"),
    (dict(cmd="true", timeout=True), "timeout"),
    (dict(cmd="true", kill_grace="2"), "kill_grace"),
    (dict(cmd="true", background=1), "background"),
    (dict(cmd="true", window=2147483649), "window"),
    (dict(cmd="true", window=1.0), "window"),
    (dict(cmd="true", max_output=0), "max_output"),
    (dict(cmd="true", encoding="latin-1"), "encoding"),
    (dict(cmd="true", overflow="middle"), "overflow"),
    (dict(cmd="true", stream=True, on_full="wait"), "on_full"),
    (dict(cmd="true", seccomp="no such profile"), "seccomp"),
    (dict(cmd="true", tag=""), "tag"),
    (dict(cmd="true", tag="123"), "tag"),
    (dict(cmd="true", tag="x" * 129), "tag"),
    (dict(cmd="true", tag="a\nb"), "tag"),
    (dict(cmd="true", tag=b"bin"), "tag"),
])
def test_params_are_checked(spec_conn, params, field):
    assert flaw(spec_conn, "exec", **params) == ("invalid_request", field)


def test_what_a_python_map_cannot_say_is_checked_too(spec_conn):
    def ask(params):
        spec_conn.send(b"\x94\x00\xcd\x77\x77\xa4exec" + params)
        _, msgid, e, _ = spec_conn.read(time.monotonic() + 10)
        assert msgid == 0x7777
        return e["code"], e["field"]
    assert ask(b"\x82\xa3cmd\xa4true\xa3cmd\xa4true") == ("invalid_request", "cmd")
    assert ask(b"\x82\xa3cmd\xa4true\xa4envs\x82\xa1A\xa1x\xa1A\xa1y") == ("invalid_request", "envs")
    assert ask(b"\x82\xa3cmd\xa4true\xa3tag\xa2\xc0\xaf") == ("invalid_request", "tag")          # overlong
    assert ask(b"\x82\xa3cmd\xa4true\xa3tag\xa3\xed\xa0\x80") == ("invalid_request", "tag")      # a surrogate
    assert ask(b"\x82\xa3cmd\xa4true\xa4args\x91\xa1\xff") == ("invalid_request", "args")        # a str that is not
    spec_conn.send(b"\x94\x00\xcd\x77\x77\xa4exec\x82\xa3cmd\xa4true\x05\x05")                   # a key that is no str
    assert spec_conn.read(time.monotonic() + 10)[2]["code"] == "invalid_request"


def test_nil_is_absent_and_integers_come_in_any_width(spec_conn):
    r = spec_conn.call("exec", cmd="true", args=None, envs=None, timeout=None, pty=None, stdin_open=None, window=None,
                       on_full=None, tag=None)
    assert r["exit_code"] == 0 and re.fullmatch("bg-[0-9a-f]{8}", r["tag"])
    spec_conn.calls[9000] = call = sc.Call(spec_conn, 9000, "exec", {}, True)
    spec_conn.send(b"\x94\x00\xd3" + (9000).to_bytes(8, "big") +
                   b"\xdb\0\0\0\x04exec\xdf\0\0\0\x02\xd9\x03cmd\xc6\0\0\0\x04true\xaamax_output\xd3\0\0\0\0\0\0\0\x05")
    assert call.wait()["exit_code"] == 0
