"""What PROTOCOL.md promises, asked of a real guestd by a client that was written from that text alone (spec_client.py).

GUESTD in the environment is the guestd to test; § are sections of PROTOCOL.md.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

import msgpack
import pytest

import spec_client as sc

VECTORS = pathlib.Path(__file__).parents[2] / "proto" / "vectors"
METHODS = ("hello ping info shutdown exec process.list process.get process.wait process.kill "
           "file.write file.read file.list file.stat file.mkdir file.remove").split()
LATER = ("process.attach process.input process.close_stdin process.resize process.forget file.move file.set file.archive "
         "file.watch metrics configure prepare_snapshot resume port.list port.connect upgrade log").split()
LIMITS = dict(connections=64, requests=256, max_frame=1114112, nesting=16, queue_connection=8 << 20, queue_total=64 << 20,
              stdin_buffer=1 << 20, stream_credit=262144, max_output=64 << 20, retained=1024, retained_s=600, watches=64,
              list_batch=1024, stall_s=60, ping_ms=250)
RESULT = dict(exit_code=int, duration_ms=int, pid=int, tag=str, reason=str, core_dumped=bool, stdout_bytes=int,
              stderr_bytes=int, truncated=bool, pipes_open=bool, descendants=int, killed_descendants=int,
              cpu_user_ms=int, cpu_sys_ms=int, max_rss_kb=int)
RECORD = dict(pid=int, tag=str, cmd=str, args=list, cwd=str, user=str, background=bool, pty=bool, state=str, started_at=float)
ENTRY = dict(name=str, path=str, type=str, size=int, mode=int, permissions=str, owner=str, group=str, modified_at=int)


class Guestd:
    """A guestd that listens in a folder of its own."""

    def __init__(self, *options, listen=None, env=None, refuses=False):
        self.folder = tempfile.mkdtemp(prefix="spec-")
        self.path = self.folder + "/s"
        self.address = listen or "unix:" + self.path
        with open(self.folder + "/log", "wb") as log:
            self.process = subprocess.Popen([os.environ["GUESTD"], "--listen", self.address, *map(str, options)],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})})
        if refuses:
            assert self.process.wait(20) != 0
        else:
            eventually(self.accepts)

    def accepts(self):
        with contextlib.suppress(OSError):
            sc.connect(self.address).close()
            return True

    @contextlib.contextmanager
    def client(self, hello=True, **params):
        with sc.Client(self.address, params.get("max_frame", 8 << 20)) as c:
            if hello:
                c.hello(**params)
            yield c

    def stop(self):
        """Ends it, if it hasn't ended, and returns its exit code."""
        try:
            self.process.terminate()
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def spec_guestd():
    g = Guestd(env={"GUESTD_SPEC": "hidden", "SPEC_SEEN": "seen"})
    try:
        yield g
    finally:
        code = g.stop()
    assert code == 0


@pytest.fixture
def spec_start():
    """Starts guestds with other options; each ends with 0 unless it was to refuse."""
    started = []
    yield lambda *options, **more: started.append((Guestd(*options, **more), more.get("refuses"))) or started[-1][0]
    assert [code for code, refused in [(g.stop(), refused) for g, refused in started] if code and not refused] == []


@pytest.fixture
def spec_conn(spec_guestd):
    with spec_guestd.client() as c:
        yield c


@pytest.fixture
def spec_dir():
    """A folder that every user may enter."""
    folder = tempfile.mkdtemp(prefix="spec-")
    os.chmod(folder, 0o755)
    yield pathlib.Path(folder)
    shutil.rmtree(folder)


def eventually(condition, within=20):
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return value


def flaw(c, method, **params):
    with pytest.raises(sc.AgentError) as e:
        c.call(method, **params)
    return e.value.code, e.value.field


def lost(c, within=15):
    """How a connection ends: the code of protocol.error, which is its last frame, or None."""
    deadline, codes = time.monotonic() + within, []
    for _ in range(2):
        with pytest.raises(sc.Lost) as e:
            while True:
                c.step(deadline)
        codes.append(e.value.code)
    assert codes[1] is None
    return codes[0]


def has(result, types):
    assert {key: type(result.get(key)) for key in types} == types


def sh(script, **params):
    return dict(cmd="sh", args=["-c", script], **params)


@contextlib.contextmanager
def background(c, **params):
    """A background process that is gone after the block."""
    made = c.call("exec", background=True, **params)
    try:
        yield made
    finally:
        with contextlib.suppress(sc.AgentError):
            c.call("process.kill", pid=made["pid"])


def alive(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"


def vector(name):
    """What a vector's first line says of it, and its bytes."""
    lines = (VECTORS / name).read_text().splitlines()
    return lines[0].lstrip("# "), bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


# ---- opening a connection: §1, §6, §8 ----

def test_unix_sockets(spec_dir, spec_start):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(spec_dir / "dead"))
    (spec_dir / "file").write_text("precious")
    g = spec_start(listen=f"unix:{spec_dir}/dead")  # a dead one is replaced, a live one and another file are not
    assert stat.S_IMODE((spec_dir / "dead").stat().st_mode) == 0o600
    for taken in ("dead", "file"):
        spec_start(listen=f"unix:{spec_dir}/{taken}", refuses=True)
    with g.client() as c:
        c.call("ping")
    g.process.terminate()
    assert g.process.wait(30) == 0 and os.listdir(spec_dir) == ["file"]
    assert (spec_dir / "file").read_text() == "precious"


def test_tcp_needs_a_token(spec_dir, spec_start):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"tcp:127.0.0.1:{s.getsockname()[1]}"
    spec_start(listen=address, refuses=True)
    (spec_dir / "token").write_text("s3cret")
    g = spec_start("--token-file", spec_dir / "token", listen=address)
    with g.client(token=b"s3cret") as c, g.client(hello=False) as d:
        c.call("ping")
        d.start("hello", protocol=1, token=b"wrong")
        assert lost(d) == "unauthenticated"


def test_token(spec_dir, spec_start):
    (spec_dir / "token").write_bytes(b"s3cret\n")
    g = spec_start("--token-file", spec_dir / "token")
    for right in (b"s3cret", "s3cret"):  # bytes: a str is taken too
        with g.client(token=right) as c:
            c.call("ping")
    for method, params in (("hello", dict(protocol=1)), ("hello", dict(protocol=1, token=b"s3cret\n")), ("ping", {}),
                           ("exec", dict(cmd="true")), ("no.such", {})):
        with g.client(hello=False) as c:
            c.start(method, **params)
            assert lost(c) == "unauthenticated", method
    waiting, begin = [], time.monotonic()
    with contextlib.ExitStack() as stack:
        def a_ninth_is_refused():  # one from above may still be counted for a moment
            w = stack.enter_context(g.client(hello=False))
            if not select.select([w.socket], [], [], 0.3)[0]:
                return waiting.append(w)
            assert lost(w) == "limit_exceeded"
            return len(waiting) >= 8
        eventually(a_ninth_is_refused)
        waiting[0].hello(token=b"s3cret")
        assert [lost(w) for w in waiting[1:]] == ["unauthenticated"] * 7 and 9 < time.monotonic() - begin < 15
        waiting[0].call("ping")


def test_hello_tells_what_is_there(spec_guestd):
    with spec_guestd.client(hello=False) as c:
        h = c.hello(client="spec/1", token=b"without one it is not looked at")
    has(h, dict(protocol=int, version=str, boot_id=str, generation=int, kill_tree=str, capabilities=dict, limits=dict))
    assert (h["protocol"], h["generation"]) == (1, 0) and h["kill_tree"] in ("cgroup", "best_effort")
    assert h["boot_id"] == pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    has(h["capabilities"], dict(methods=list, seccomp=list, controllers=list))
    assert set(h["capabilities"]["methods"]) == set(METHODS)
    assert {name: h["limits"].get(name) for name in LIMITS} == LIMITS
    assert 0 < h["limits"]["processes"] <= 4096 and 0 < h["limits"]["output_total"] <= 256 << 20


@pytest.mark.parametrize("params, code, field", [
    (dict(protocol=2), "unsupported", "protocol"), (dict(), "invalid_request", "protocol"),
    (dict(protocol=1.0), "invalid_request", "protocol"), (dict(protocol=True), "invalid_request", "protocol"),
    (dict(protocol=1, max_frame=4095), "invalid_request", "max_frame"), (dict(protocol=1, x=None), "invalid_request", "x")])
def test_hello_is_checked_and_the_connection_goes_on(spec_guestd, params, code, field):
    with spec_guestd.client(hello=False) as c:
        assert flaw(c, "hello", **params) == (code, field)
        c.call("info")


def test_connections_and_requests_are_limited(spec_start):
    g = spec_start("--connections", 2, "--requests", 3)
    with g.client() as c, contextlib.ExitStack() as stack:
        def second():  # the probe of the start may still be counted for a moment
            with contextlib.suppress(sc.Lost):
                return stack.enter_context(g.client())
        eventually(second)
        with g.client(hello=False) as third:
            assert lost(third) == "limit_exceeded"
        slow = [c.start("exec", cmd="sleep", args=["1000"]) for _ in range(3)]
        assert flaw(c, "ping") == ("limit_exceeded", None)
        slow[0].cancel()
        slow[0].until(lambda: slow[0].done)
        c.call("ping")


# ---- frames and messages: §2, §3, §13 ----

@pytest.mark.parametrize("name", sorted(p.name for p in VECTORS.glob("*.hex")))
def test_vectors_here_and_at_the_agent(spec_guestd, spec_conn, name):
    what, data = vector(name)
    a, b = socket.socketpair()
    with sc.Client(a, 1114112) as c, b, spec_guestd.client(hello=False) as agent:
        b.sendall(data)
        if name.endswith(".ok.hex"):
            m = c.read(time.monotonic() + 5)
            assert what == ("request", "response", "notification")[m[0]] + ("" if m[0] == 1 else f" {m[-2]}")
            if m[0] == 0 or m[0] == 2 and set(m[2]) in ({"id"}, {"id", "bytes"}, {"id", "data"}):
                return  # a client may say it
            code = "invalid_request"
        else:
            with pytest.raises(TimeoutError if "INCOMPLETE" in what else sc.Untrusted):
                c.read(time.monotonic() + 0.1)
            code = "too_large" if what == "error: FRAME_EMSGSIZE" else "invalid_request"
        agent.send_raw(data)
        if what == "error: FRAME_INCOMPLETE":
            spec_conn.call("ping")
            assert not select.select([agent.socket], [], [], 0.1)[0]
        elif what in ("error: MESSAGE_METHOD", "error: MESSAGE_PARAMS"):
            kind, _, e, result = agent.read(time.monotonic() + 10)
            assert (kind, e["code"], e["field"], result) == (1, code, what[15:].lower(), None)
            agent.call("ping")
        else:
            assert lost(agent) == code


@pytest.mark.parametrize("body, code", [
    ([2, "stream.credit", {"id": 1}], "invalid_request"),                         # missing
    ([2, "stream.credit", {"id": 1, "bytes": 1, "x": None}], "invalid_request"),  # unknown
    (b"\x93\x02\xadstream.cancel\x82\xa2id\x01\xa2id\x01", "invalid_request"),    # repeated
    ([2, "stream.credit", {"id": 1, "bytes": 1.0}], "invalid_request"),           # mistyped
    ([0, 1, "ping", {"x": [None] * (262144 - 6)}], "too_large"),                  # 262145 objects
    (b"\x00" * 1114113, "too_large")])
def test_what_ends_a_connection_and_no_other(spec_guestd, spec_conn, body, code):
    with spec_guestd.client() as c:
        c.send(body)
        assert lost(c) == code
    spec_conn.call("ping")


def test_the_largest_frame_and_the_most_objects_are_taken(spec_conn, spec_dir):
    assert flaw(spec_conn, "ping", x=[None] * (262144 - 7)) == ("invalid_request", "x")
    room = 1114112 - 3 - len(msgpack.packb([0, 77, "file.write", {"path": str(spec_dir / "f"), "data": b""}]))  # bin 32, not 8
    assert spec_conn.call("file.write", path=str(spec_dir / "f"), data=b"x" * room)["bytes"] == room


def test_requests_start_in_order_and_run_side_by_side(spec_guestd):
    with spec_guestd.client() as c:
        slow, tags = c.start("exec", cmd="sleep", args=["1000"]), [f"order-{i}" for i in range(12)]
        calls = [c.start("exec", cmd="sleep", args=["1000"], background=True, tag=tag) for tag in tags]
        assert [call.wait()["tag"] for call in calls] == tags
        assert [r["tag"] for r in c.call("process.list")["processes"] if r["tag"] in tags] == tags
        for tag in tags:
            c.call("process.kill", tag=tag)
        assert not slow.done
        c.send([0, slow.id, "ping", {}])  # a msgid that is in flight
        assert lost(c) == "invalid_request"


@pytest.mark.parametrize("method", LATER + ["no.such", "ready"])
def test_later_and_unknown_methods_are_unsupported(spec_conn, method):
    assert flaw(spec_conn, method, anything=1) == ("unsupported", "method")


# ---- values and errors: §4, §5, §12 ----

@pytest.mark.parametrize("field, params", [
    ("nonsense", dict(nonsense=None)), ("user", dict(user=5, cwd="x")), ("cwd", dict(cwd="x", user=5)),  # in the order sent
    ("timeout", dict(cmd=None, timeout=-1)), ("cmd", dict(cmd=None)), ("cmd", dict(cmd="a\0b")), ("args", dict(args=["a", 5])),
    ("envs", dict(envs={"": "x"})), ("envs", dict(envs={"A=B": "x"})), ("envs", dict(envs={"A": 1})),
    ("cwd", dict(cwd="/" + "x/" * 2100)), ("timeout", dict(timeout=float("nan"))), ("timeout", dict(timeout=float("inf"))),
    ("timeout", dict(timeout=True)), ("kill_grace", dict(kill_grace="2")), ("background", dict(background=1)),
    ("window", dict(window=2147483649)), ("window", dict(window=1.0)), ("max_output", dict(max_output=0)),
    ("encoding", dict(encoding="latin-1")), ("overflow", dict(overflow="middle")), ("seccomp", dict(seccomp="no such profile")),
    ("tag", dict(tag="")), ("tag", dict(tag="123")), ("tag", dict(tag="x" * 129)), ("tag", dict(tag="a\nb")),
    ("tag", dict(tag=b"bin"))])
def test_params_are_checked(spec_conn, field, params):
    assert flaw(spec_conn, "exec", **{"cmd": "true", **params}) == ("invalid_request", field)


def test_what_a_python_map_cannot_say(spec_conn):
    def ask(params):
        spec_conn.send(b"\x94\x00\xd3" + (0x7777).to_bytes(8, "big") + b"\xdb\0\0\0\x04exec" + params)
        _, msgid, e, _ = spec_conn.read(time.monotonic() + 10)
        assert msgid == 0x7777
        return e and (e["code"], e["field"])
    assert ask(b"\xdf\0\0\0\x02\xd9\x03cmd\xc6\0\0\0\x04true\xaamax_output\xd3\0\0\0\0\0\0\0\x05") is None  # wide
    assert ask(b"\x84\xa3cmd\xa4true\xa4args\xc0\xa3pty\xc0\xa6window\xc0") is None                          # nil is absent
    assert ask(b"\x82\xa3cmd\xa4true\xa3cmd\xa4true") == ("invalid_request", "cmd")
    assert ask(b"\x82\xa3cmd\xa4true\xa4envs\x82\xa1A\xa1x\xa1A\xa1y") == ("invalid_request", "envs")
    assert ask(b"\x82\xa3cmd\xa4true\xa3tag\xa2\xc0\xaf") == ("invalid_request", "tag")                      # overlong
    assert ask(b"\x82\xa3cmd\xa4true\xa3tag\xa3\xed\xa0\x80") == ("invalid_request", "tag")                  # a surrogate


def test_typed_errors_of_exec(spec_conn, spec_dir):
    for name, text, mode in (("orphan", "#!/no/such/interpreter\n", 0o755), ("plain", "#!/bin/sh\n", 0o644), ("text", "hello", 0o755)):
        (spec_dir / name).write_text(text)
        (spec_dir / name).chmod(mode)
    (spec_dir / "shut").mkdir(0o700)
    with background(spec_conn, cmd="sleep", args=["1000"], tag="spec-taken"):
        for expected, params in (
                ("not_found cmd", dict(cmd="no-such-program")), ("not_found cmd", dict(cmd=f"{spec_dir}/orphan")),
                ("permission_denied cmd", dict(cmd=f"{spec_dir}/plain")), ("permission_denied cmd", dict(cmd=str(spec_dir))),
                ("wrong_type cmd", dict(cmd=f"{spec_dir}/text")), ("not_found cwd", dict(cwd="/no/such")),
                ("wrong_type cwd", dict(cwd=f"{spec_dir}/text")), ("too_large max_output", dict(max_output=(64 << 20) + 1)),
                ("permission_denied cwd", dict(cwd=f"{spec_dir}/shut", user="nobody")), ("not_found user", dict(user="no-such")),
                ("too_large args", dict(args=["x" * 200000])), ("already_exists tag", dict(tag="spec-taken")),
                ("unsupported pty", dict(pty={"rows": 24})), ("unsupported stdin_open", dict(stdin_open=True)),
                ("unsupported limits", dict(limits={})), ("unsupported key", dict(key="k"))):
            assert flaw(spec_conn, "exec", **{"cmd": "true", **params}) == tuple(expected.split()), params


# ---- the capsule: §8 ----

def test_ping_and_info(spec_conn):
    p, i = spec_conn.call("ping"), spec_conn.call("info")
    has(p, dict(time_unix_ns=int, uptime_ms=int, last_active_at=float))
    assert abs(p["time_unix_ns"] / 1e9 - time.time()) < 10
    has(i, dict(version=str, boot_id=str, kernel=str, arch=str, pid1=bool, cpus=int, memory=int, supervisor_uptime_ms=int,
                agent_uptime_ms=int, restarts=int, template=type(None), metrics=dict))
    assert spec_conn.call("ping", touch=False)["last_active_at"] == p["last_active_at"]
    eventually(lambda: spec_conn.call("exec", cmd="true") and spec_conn.call("ping", touch=False)["last_active_at"] > p["last_active_at"])


def test_shutdown(spec_start):
    g = spec_start()
    with g.client() as c:
        for expected, params in (("invalid_request mode", {}), ("invalid_request mode", dict(mode="sleep")),
                                 ("permission_denied mode", dict(mode="poweroff")), ("invalid_request grace", dict(mode="exit", grace=3601))):
            assert flaw(c, "shutdown", **params) == tuple(expected.split())
        stubborn = c.call("exec", background=True, **sh('trap "" TERM; while :; do sleep 0.05; done'))["pid"]
        status = pathlib.Path(f"/proc/{stubborn}/status")
        eventually(lambda: int(re.search(r"SigIgn:\s*(\w+)", status.read_text())[1], 16) & 1 << signal.SIGTERM - 1)
        assert c.call("shutdown", mode="exit", grace=1) == {}
        assert flaw(c, "exec", cmd="true") == ("busy", None)
        c.call("ping"), c.call("info"), c.hello()
        assert g.process.wait(20) == 0 and not alive(stubborn)


# ---- exec: §9, §7 ----

def test_captured(spec_conn):
    r = spec_conn.call("exec", **sh("echo out; echo err >&2; exit 3"))
    has(r, dict(RESULT, stdout=str, stderr=str, encoding=str, status=int, signal=type(None)))
    assert (r["stdout"], r["stderr"], r["encoding"], r["exit_code"], r["status"]) == ("out\n", "err\n", "utf-8", 3, 3)
    assert (r["reason"], r["stdout_bytes"], r["truncated"]) == ("exited", 4, False) and re.fullmatch("bg-[0-9a-f]{8}", r["tag"])


def test_signals_deadlines_and_the_tree(spec_conn):
    def end(script, **params):
        r = spec_conn.call("exec", **sh(script, **params))
        return r["reason"], r["signal"], r["exit_code"], r
    assert end("kill -USR1 $$")[:3] == ("signaled", "SIGUSR1", 138)
    assert end("exec sleep 1000", timeout=0.2)[:3] == ("timed_out", "SIGTERM", 124)
    *what, r = end('trap "" TERM; while :; do sleep 0.05; done', timeout=0.2, kill_grace=0.4)
    assert what == ["timed_out", "SIGKILL", 124] and 500 <= r["duration_ms"] < 10000
    r = end("setsid sh -c 'sleep 1000 & echo $!; wait' & (sleep 1000 & echo $!) & wait; wait", timeout=0.5)[3]
    assert len(r["stdout"].split()) == 2 and r["killed_descendants"] >= 2 and not any(map(alive, r["stdout"].split()))
    r = end("sleep 1000 & echo $!")[3]  # a leader that exits leaves its descendants alone
    assert r["pipes_open"] and r["descendants"] == 1 and alive(r["stdout"].strip())
    os.kill(int(r["stdout"]), signal.SIGKILL)
    r = end("sleep 1000 & echo $!", kill_rest=True)[3]
    eventually(lambda: not alive(r["stdout"].strip()))


@pytest.mark.parametrize("encoding, script, expected", [
    ("auto", r"printf 'h\303\251'", ("utf-8", "hé", "")), ("auto", r"printf ok; printf '\377' >&2", ("base64", "b2s=", "/w==")),
    ("utf-8", r"printf 'a\377b'", ("utf-8", "a\ufffdb", "")), ("raw", r"printf 'a\377\000'", ("raw", b"a\xff\0", b""))])
def test_encodings(spec_conn, encoding, script, expected):
    r = spec_conn.call("exec", encoding=encoding, **sh(script))
    assert (r["encoding"], r["stdout"], r["stderr"]) == expected


@pytest.mark.parametrize("script, params, expected", [
    ("printf 0123456789", dict(max_output=4), ("0123", True, "exited")),
    ("printf 0123456789", dict(max_output=4, overflow="tail"), ("6789", True, "exited")),
    ("printf 0123", dict(max_output=4, overflow="kill"), ("0123", False, "exited")),
    ("yes; sleep 1000", dict(max_output=4, overflow="kill"), ("y\ny\n", True, "output_limit")),
    (r"printf 'a\342\202\254'", dict(max_output=3), ("a", True, "exited"))])  # a sequence that was cut is dropped
def test_max_output_and_overflow(spec_conn, script, params, expected):
    r = spec_conn.call("exec", **sh(script, **params))
    assert (r["stdout"], r["truncated"], r["reason"]) == expected and r["exit_code"] == (137 if expected[2] != "exited" else 0)


def test_what_the_child_gets(spec_conn, spec_dir):
    def out(cmd, *args, **params):
        return spec_conn.call("exec", cmd=cmd, args=args, encoding="raw", **params)["stdout"]
    st = out("cat", "/proc/self/stat").rpartition(b")")[2].split()
    assert st[2] == st[3] and out("sh", "-c", "umask; readlink /proc/self/fd/0") == b"0022\n/dev/null\n"
    assert out("cat", stdin=bytes(range(256)) * 1000) == bytes(range(256)) * 1000
    assert out("pwd", cwd=str(spec_dir)) == b"%s\n" % os.fsencode(spec_dir) and out("echo", "$HOME", "*") == b"$HOME *\n"
    assert out("printf", "%s.%s", b"\xff", "é") == b"\xff.\xc3\xa9"
    e = dict(line.split(b"=", 1) for line in out("env", "-0", envs={"A": "1", b"B\xff": b"\xfe", "SHELL": None}).split(b"\0") if line)
    assert (e[b"A"], e[b"B\xff"], e[b"USER"], e[b"SPEC_SEEN"]) == (b"1", b"\xfe", b"root", b"seen")
    assert not {b"GUESTD_SPEC", b"SHELL"} & set(e)
    for user, ids in (("nobody", b"65534 65534"), ("4242", b"4242 4242"), ("nobody:root", b"65534 0"), ("7:8", b"7 8")):
        assert out("sh", "-c", "echo $(id -u) $(id -g)", user=user) == ids + b"\n"


@pytest.mark.parametrize("window, frame", [(1 << 20, 8 << 20), (5000, 8 << 20), (2 << 20, 4096)])
def test_a_stream_loses_nothing(spec_guestd, window, frame):
    with spec_guestd.client(max_frame=frame) as c:
        call = c.start("exec", stream=True, window=window, **sh("seq 1 300000; echo err >&2; exit 5"))
        r = call.wait()
    has(r, RESULT)
    assert call.data == {"stdout": b"".join(b"%d\n" % i for i in range(1, 300001)), "stderr": b"err\n"} and not call.gaps
    assert call.ends == {"stdout": r["stdout_bytes"], "stderr": 4} and r["exit_code"] == 5
    assert (call.events[0]["event"], call.events[0]["pid"]) == ("started", r["pid"]) and not {"stdout", "encoding"} & set(r)


def test_credit_is_what_the_agent_sends_and_cancel_ends_it(spec_conn):
    """The text's own example; more than was credited raises Untrusted."""
    call = spec_conn.start("exec", auto=False, cmd="yes", stream=True, window=8)
    call.until(lambda: call.came == 8)
    spec_conn.call("ping")
    call.grant(4)
    call.until(lambda: call.came == 12)
    call.cancel()
    call.grant(1 << 30)
    r = call.wait()
    assert (r["reason"], r["exit_code"]) == ("cancelled", 137)
    assert call.ends == {"stdout": call.off["stdout"], "stderr": 0} and call.data["stdout"].startswith(b"y\n" * 6)


def test_credit_counts_both_channels_and_may_follow_the_request_at_once(spec_conn):
    call = spec_conn.start("exec", auto=False, stream=True, window=0, **sh("printf abcd; printf efgh >&2"))
    call.grant(3)
    call.until(lambda: call.came == 3)
    call.grant(5)
    assert call.wait()["exit_code"] == 0 and call.data == {"stdout": b"abcd", "stderr": b"efgh"}


def test_who_gives_no_credit_delays_nobody(spec_conn):
    call = spec_conn.start("exec", auto=False, cmd="head", args=["-c", "30000000", "/dev/zero"], stream=True, window=0)
    full = spec_conn.start("exec", cmd="head", args=["-c", "5000000", "/dev/zero"], stream=True)
    assert full.wait()["stdout_bytes"] == full.came == 5000000
    assert spec_conn.call("process.get", pid=call.events[0]["pid"])["state"] == "running"  # it waits in its pipe
    call.auto, call.window = True, 1 << 20
    call.grant(1 << 20)
    assert call.wait()["exit_code"] == 0 and call.came == 30000000 and not call.gaps


def test_cancel(spec_conn):
    call = spec_conn.start("exec", cmd="sleep", args=["1000"], timeout=0, tag="spec-cancel")
    eventually(lambda: "spec-cancel" in [r["tag"] for r in spec_conn.call("process.list")["processes"]])
    call.cancel()
    r = call.wait()
    assert (r["reason"], r["exit_code"], r["signal"], r["status"], r["stdout"]) == ("cancelled", 137, "SIGTERM", None, "")
    with background(spec_conn, cmd="sleep", args=["1000"]) as p:
        wait = spec_conn.start("process.wait", pid=p["pid"])
        wait.cancel()
        with pytest.raises(sc.AgentError, match="cancelled"):
            wait.wait()
        assert alive(p["pid"])


def test_notifications_of_closed_ids_are_dropped(spec_conn, spec_dir):
    for method, params in (("cancel", {}), ("end", {}), ("data", {"data": b"x" * 300000}), ("credit", {"bytes": 2**64 - 1})):
        spec_conn.send([2, f"stream.{method}", {"id": 123456, **params}])
    up = spec_conn.start("file.write", path=str(spec_dir / "f"), stream=True)
    up.grant(2**64 - 1)  # for a request that sends no data
    up.end()
    up.end()
    assert up.wait()["bytes"] == 0


@pytest.mark.parametrize("what", ["too much", "to no upload", "credit"])
def test_stream_notifications_that_end_the_connection(spec_guestd, spec_conn, spec_dir, what):
    with spec_guestd.client() as c:
        if what == "too much":
            call = c.start("file.write", path=str(spec_dir / "f"), stream=True)
            c.send([2, "stream.data", {"id": call.id, "data": b"x" * 262145}])
        else:
            call = c.start("exec", cmd="sleep", args=["1000"], stream=True, window=2)
            c.send([2, "stream.data", {"id": call.id, "data": b"x"}]) if what == "to no upload" else call.grant(2**64 - 2)
        assert lost(c) == "invalid_request"
    assert not os.listdir(spec_dir)
    spec_conn.call("ping")


# ---- processes: §9 ----

def test_background_list_get_wait(spec_guestd, spec_conn):
    def pids(**params):
        return [r["pid"] for r in spec_conn.call("process.list", **params)["processes"]]
    with background(spec_conn, **sh("echo hi; sleep 1000; exit", cwd="/", tag="spec-list", user="nobody")) as p:
        for selector in (dict(pid=p["pid"]), dict(tag="spec-list")):
            r = spec_conn.call("process.get", **selector)
            has(r, RECORD)
            assert (r["pid"], r["tag"], r["cmd"], r["cwd"], r["state"]) == (p["pid"], "spec-list", "sh", "/", "running")
            assert r["background"] is True and r["user"] == "nobody" and "exit_code" not in r
        assert p["pid"] in pids()
        assert flaw(spec_conn, "process.wait", tag="spec-list", timeout=0)[0] == "timeout"
        with spec_guestd.client() as other:
            waits = [c.start("process.wait", tag="spec-list", output=True) for c in (spec_conn, spec_conn, other)]
            assert spec_conn.call("process.kill", tag="spec-list", signal="TERM") == {}
            for r in [w.wait() for w in waits]:
                has(r, dict(RESULT, encoding=str))
                assert (r["stdout"], r["reason"], r["signal"], r["exit_code"]) == ("hi\n", "killed", "SIGTERM", 143)
    assert spec_conn.call("process.wait", tag="spec-list", output=True, encoding="raw")["stdout"] == b"hi\n"
    r = spec_conn.call("process.get", pid=p["pid"])
    has(r, dict(RECORD, **RESULT))
    assert r["state"] == "exited" and not {"stdout", "stderr", "encoding"} & set(r)
    assert p["pid"] not in pids() and p["pid"] in pids(exited=True)
    for method in ("process.get", "process.wait", "process.kill"):
        assert flaw(spec_conn, method)[0] == flaw(spec_conn, method, pid=1, tag="x")[0] == "invalid_request"
        assert flaw(spec_conn, method, tag="no such")[0] == flaw(spec_conn, method, pid=os.getpid())[0] == "not_found"


@pytest.mark.parametrize("how, name", [({}, "SIGKILL"), (dict(signal="SIGINT"), "SIGINT"), (dict(signal=15), "SIGTERM"),
                                       (dict(signal="USR1", scope="leader"), "SIGUSR1")])
def test_kill(spec_conn, how, name):
    with background(spec_conn, cmd="sleep", args=["1000"]) as p:
        assert flaw(spec_conn, "process.kill", pid=p["pid"], signal="NOPE") == ("invalid_request", "signal")
        spec_conn.call("process.kill", pid=p["pid"], **how)
        assert how or not alive(p["pid"])  # SIGKILL answers when the leader is reaped
        r = spec_conn.call("process.wait", pid=p["pid"], timeout=20)
        assert (r["reason"], r["signal"], r["exit_code"]) == ("killed", name, 128 + signal.Signals[name])
        assert flaw(spec_conn, "process.kill", pid=p["pid"])[0] == "not_found"


@pytest.mark.parametrize("scope", ["group", "tree"])
def test_kill_scopes(spec_conn, spec_dir, scope):
    script = f"sleep 1000 & echo $! > {spec_dir}/pids; setsid sleep 1000 & echo $! >> {spec_dir}/pids; echo > {spec_dir}/up; wait; wait"
    with background(spec_conn, **sh(script)) as p:
        eventually((spec_dir / "up").exists)
        inside, outside = map(int, (spec_dir / "pids").read_text().split())
        eventually(lambda: os.getsid(outside) == outside)
        spec_conn.call("process.kill", pid=p["pid"], scope=scope)
        eventually(lambda: not alive(inside) and not alive(p["pid"]) and (scope == "group" or not alive(outside)))
        if scope == "group":
            assert alive(outside)
            os.kill(outside, signal.SIGKILL)


def test_a_lost_connection_kills_the_foreground_and_not_the_background(spec_guestd, spec_conn):
    with spec_guestd.client() as c:
        streamed = c.start("exec", cmd="yes", stream=True, window=10)
        streamed.until(lambda: streamed.came == 10)
        p = c.call("exec", cmd="sleep", args=["1000"], background=True)
    eventually(lambda: not alive(streamed.events[0]["pid"]))
    assert spec_conn.call("process.get", pid=p["pid"])["state"] == "running" and alive(p["pid"])
    spec_conn.call("process.kill", pid=p["pid"])


# ---- files: §10 ----

def test_write_in_one_frame_and_in_pieces(spec_conn, spec_dir):
    path = spec_dir / "f"

    def write(data, at=path, **params):
        r = spec_conn.call("file.write", path=str(at), data=data, **params)
        assert r["bytes"] == len(data)
        return path.read_bytes(), r["entry"]
    content, entry = write(b"\0one\xff")
    has(entry, dict(ENTRY, symlink_target=type(None)))
    assert content == b"\0one\xff" and (entry["name"], entry["path"], entry["permissions"]) == ("f", str(path), "-rw-r--r--")
    os.chown(path, 7, 8)
    assert write(b"", mode=0o4751)[1]["permissions"] == "-rwsr-x--x" and (path.stat().st_uid, path.stat().st_gid) == (7, 8)
    with path.open("rb") as old:
        assert write(b"0123", fsync=True)[1]["mode"] == 0o4751 and old.read() == b""  # readers see one of them whole
    inode = path.stat().st_ino
    assert write(b"45", append=True)[0] == b"012345" and write(b"ab", off=1)[0] == b"0ab345" and write(b"y", off=6)[0] == b"0ab345y"
    assert write(b"in place", atomic=False)[0] == b"in place" and path.stat().st_ino == inode
    (spec_dir / "link").symlink_to("f")
    assert write(b"through", at=spec_dir / "link")[0] == b"through" and (spec_dir / "link").is_symlink()
    write(b"", at=spec_dir / "a/b/c", create_parents=True)
    spec_dir.chmod(0o777)
    assert write(b"", at=spec_dir / "mine", user="nobody")[1]["owner"] == "nobody"


def test_typed_errors_of_write(spec_conn, spec_dir):
    (spec_dir / "old").write_text("old")
    os.mkfifo(spec_dir / "fifo")
    for expected, errno, path, params in (
            ("invalid_request path", None, "../relative", {}), ("invalid_request path", 36, "x" * 256, {}),
            ("not_found path", 2, "no/such", {}), ("wrong_type path", 21, "", {}), ("wrong_type path", None, "fifo", {}),
            ("wrong_type path", 20, "old/f", {}), ("permission_denied path", 13, "f", dict(user="nobody")),
            ("not_found user", None, "f", dict(user="no-such")), ("invalid_request mode", None, "f", dict(mode=4096)),
            ("invalid_request size", None, "old", dict(size=2)), ("invalid_request sha256", None, "old", dict(sha256="0" * 64)),
            ("invalid_request sha256", None, "f", dict(sha256="xyz")), ("invalid_request off", None, "old", dict(off=4))):
        with pytest.raises(sc.AgentError) as e:
            spec_conn.call("file.write", path=path if path[:2] == ".." else str(spec_dir / path), data=b"x", **params)
        assert f"{e.value.code} {e.value.field}" == expected and errno in (None, e.value.errno), path
    for params in (dict(append=True, off=0), dict(append=True, sha256="0" * 64), dict(off=0, atomic=True), dict(stream=True)):
        assert flaw(spec_conn, "file.write", path=str(spec_dir / "old"), data=b"x", **params)[0] == "invalid_request"
    assert sorted(os.listdir(spec_dir)) == ["fifo", "old"] and (spec_dir / "old").read_text() == "old"


def test_a_streamed_upload_with_its_digest(spec_conn, spec_dir):
    path, data = spec_dir / "f", os.urandom(3 << 20)
    path.write_text("old")
    up = spec_conn.start("file.write", path=str(path), stream=True, size=len(data), sha256=hashlib.sha256(data).hexdigest(), mode=0o600)
    up.upload(data)
    assert path.read_text() == "old"
    up.end()
    r = up.wait()
    assert r["bytes"] == r["entry"]["size"] == len(data) and r["entry"]["mode"] == 0o600 and path.read_bytes() == data
    up = spec_conn.start("file.write", path=str(spec_dir), stream=True)  # may fail before its end; what is under way is dropped
    with pytest.raises(sc.AgentError, match="wrong_type"):
        up.wait()
    spec_conn.send([2, "stream.data", {"id": up.id, "data": b"under way"}])
    up.end()
    spec_conn.call("ping")


@pytest.mark.parametrize("how", ["lost", "cancel", "sha256", "size", "protocol"])
def test_a_broken_upload_leaves_the_old_file_and_no_litter(spec_guestd, spec_dir, how):
    (spec_dir / "f").write_text("old")
    with spec_guestd.client() as c:
        up = c.start("file.write", path=str(spec_dir / "f"), stream=True,
                     **{"sha256": dict(sha256="0" * 64), "size": dict(size=500001)}.get(how, {}))
        up.upload(b"x" * 500000)
        if how == "protocol":
            c.send([3])
            assert lost(c) == "invalid_request"
        elif how != "lost":
            up.cancel() if how == "cancel" else up.end()
            with pytest.raises(sc.AgentError, match="cancelled" if how == "cancel" else f"invalid_request.*{how}"):
                up.wait()
            c.call("ping")
    eventually(lambda: os.listdir(spec_dir) == ["f"])
    assert (spec_dir / "f").read_text() == "old"


def test_read(spec_guestd, spec_conn, spec_dir):
    path, data = spec_dir / "f", os.urandom(2 << 20)
    path.write_bytes(data)
    path.chmod(0o600)
    os.mkfifo(spec_dir / "fifo")
    for off, n, params in ((0, 1 << 20, {}), (5, 3, dict(len=3)), (1 << 20, 1 << 20, {}), (len(data) - 2, 2, {}), (len(data) + 5, 0, {})):
        r = spec_conn.call("file.read", path=str(path), off=off, **params)
        assert (r["data"], r["size"], r["eof"]) == (data[off:off + n], len(data), off + n >= len(data))
    with spec_guestd.client(max_frame=4096) as c:
        r = c.call("file.read", path=str(path), off=10, len=100000)
        assert r["data"] and data[10:].startswith(r["data"]) and (r["off"], r["eof"]) == (10, False)
    for expected, name, params in (("too_large len", "f", dict(len=(1 << 20) + 1)), ("permission_denied path", "f", dict(user="nobody")),
                                   ("wrong_type path", "", {}), ("wrong_type path", "fifo", {}), ("not_found path", "no", {})):
        assert flaw(spec_conn, "file.read", path=str(spec_dir / name), **params) == tuple(expected.split())


@pytest.mark.parametrize("params", [{}, dict(window=1000), dict(off=12345, len=150000), dict(off=12345, len=5, window=1)])
def test_a_streamed_read(spec_conn, spec_dir, params):
    data, off = os.urandom(200000 if params else 3000000), params.get("off", 0)
    (spec_dir / "f").write_bytes(data)
    call = spec_conn.start("file.read", path=str(spec_dir / "f"), stream=True, **params)
    r, end = call.wait(), off + params.get("len", len(data) - off)
    assert call.data["file"] == data[off:end] and call.ends == {"file": end}
    assert (r["size"], r["off"], r["eof"]) == (len(data), end, end == len(data)) and "data" not in r


def test_list(spec_guestd, spec_conn, spec_dir):
    root = os.fsencode(spec_dir)
    (spec_dir / "b/deep/er").mkdir(parents=True)
    for name in (b"b/deep/er/x", b"b/B", b"b/a", b"Z", b"\xfe"):
        open(root + b"/" + name, "x").close()
    (spec_dir / "b.c").symlink_to("b")

    def ls(path=spec_dir, **params):
        r = spec_conn.call("file.list", path=str(path), **params)
        return [os.path.relpath(os.fsencode(e["path"]), root) for e in r["entries"]], r["truncated"]
    two = [b"Z", b"b", b"b/B", b"b/a", b"b/deep", b"b.c", b"\xfe"]  # in the order of their bytes, each before what is in it
    assert ls() == ([b"Z", b"b", b"b.c", b"\xfe"], False) and ls(depth=2) == (two, False)
    assert ls(depth=9) == (two[:5] + [b"b/deep/er", b"b/deep/er/x"] + two[5:], False)
    assert ls(depth=2, limit=4) == (two[:4], True) and ls(depth=2, limit=7) == (two, False)
    assert ls(depth=0) == ([b"."], False) and ls(spec_dir / "Z", depth=0) == ([b"Z"], False)
    entries = spec_conn.call("file.list", path=str(spec_dir))["entries"]
    assert [(e["name"], e["type"], e["symlink_target"]) for e in entries] == [
        ("Z", "file", None), ("b", "directory", None), ("b.c", "symlink", "b"), (b"\xfe", "file", None)]
    assert flaw(spec_conn, "file.list", path=str(spec_dir / "Z")) == ("wrong_type", "path")
    assert flaw(spec_conn, "file.list", path=str(spec_dir), limit=0) == ("invalid_request", "limit")
    (spec_dir / "b").chmod(0o700)  # listed, without what is in it
    assert ls(depth=9, user="nobody") == ([b"Z", b"b", b"b.c", b"\xfe"], False)


def test_a_streamed_list_comes_in_batches_that_fit(spec_start, spec_dir):
    names = [f"{i:03}{'x' * 200}" for i in range(60)]
    for name in names:
        (spec_dir / name).touch()
    g = spec_start("--list-batch", 50)
    for limit, frame in ((None, 8 << 20), (12, 8 << 20), (None, 4096)):
        with g.client(max_frame=frame) as c:
            call = c.start("file.list", path=str(spec_dir), stream=True, limit=limit)
            assert call.wait()["truncated"] is (limit is not None)
            assert {e["event"] for e in call.events} == {"entries"} and all(len(e["entries"]) <= 50 for e in call.events)
            assert [x["name"] for e in call.events for x in e["entries"]] == names[:limit]
            assert frame > 4096 or c.call("file.list", path=str(spec_dir))["truncated"]


def test_stat(spec_conn, spec_dir):
    def entry(path, **params):
        return spec_conn.call("file.stat", path=str(path), **params)["entry"]
    (spec_dir / "f").write_text("12345")
    os.utime(spec_dir / "f", (1, 1234567890.75))
    os.chown(spec_dir / "f", 0, 54321)
    (spec_dir / "f").chmod(0o2754)
    (spec_dir / "link").symlink_to("f")
    (spec_dir / "dangling").symlink_to("nowhere")
    e = entry(f"/{spec_dir}///f/")
    has(e, dict(ENTRY, symlink_target=type(None)))
    assert (e["path"], e["type"], e["size"], e["mode"], e["permissions"]) == (str(spec_dir / "f"), "file", 5, 0o2754, "-rwxr-sr--")
    assert (e["owner"], e["group"], e["modified_at"]) == ("root", "54321", 1234567890)
    assert entry(spec_dir / "link")["symlink_target"] == "f" and entry(spec_dir / "link", follow=True)["type"] == "file"
    assert flaw(spec_conn, "file.stat", path=str(spec_dir / "dangling"), follow=True) == ("not_found", "path")
    assert entry("/")["name"] == entry("/")["path"] == "/" and entry("/dev/null")["type"] == "char_device"


def test_mkdir(spec_conn, spec_dir):
    def mkdir(name, **params):
        return spec_conn.call("file.mkdir", path=str(spec_dir / name), **params)["created"], stat.S_IMODE((spec_dir / name).stat().st_mode)
    assert mkdir("a/b/c", mode=0o1770) == (True, 0o1770) and stat.S_IMODE((spec_dir / "a/b").stat().st_mode) == 0o755
    assert mkdir("d", parents=False) == (True, 0o755) and mkdir("a/b/c", mode=0o700) == (False, 0o1770)
    (spec_dir / "link").symlink_to("d")
    (spec_dir / "file").touch()
    assert mkdir("link")[0] is False
    for expected, name, params in (("wrong_type path", "file", {}), ("wrong_type path", "file/sub", {}),
                                   ("not_found path", "x/y", dict(parents=False)), ("permission_denied path", "n", dict(user="nobody"))):
        assert flaw(spec_conn, "file.mkdir", path=str(spec_dir / name), **params) == tuple(expected.split())


def test_remove(spec_conn, spec_dir):
    def remove(name, **params):
        return spec_conn.call("file.remove", path=str(spec_dir / name), **params)["removed"]
    (spec_dir / "t/u").mkdir(parents=True)
    (spec_dir / "keep/locked").mkdir(parents=True)
    (spec_dir / "t/u/out").symlink_to(spec_dir / "keep")
    for name in ("t/f", "keep/x", "keep/y", "keep/locked/f"):
        (spec_dir / name).touch()
    assert remove("t") == 4 and os.listdir(spec_dir) == ["keep"] and remove("t", missing_ok=True) == 0
    assert flaw(spec_conn, "file.remove", path=str(spec_dir / "t")) == ("not_found", "path")
    assert flaw(spec_conn, "file.remove", path=f"{spec_dir}/keep/..") == ("invalid_request", "path")
    os.chown(spec_dir / "keep", 65534, 65534)
    with pytest.raises(sc.AgentError, match="permission_denied") as e:  # what can't be removed doesn't stop the rest
        remove("keep", user="nobody")
    assert os.listdir(spec_dir / "keep") == ["locked"]
    assert e.value.data["removed"] == 2 and e.value.data["failed"] >= 1 and e.value.data["path"] == f"{spec_dir}/keep/locked/f"


# ---- limits: §11 ----

def test_limits_are_options_told_and_held(spec_start, spec_dir):
    options = dict(processes=1, max_frame=65536, stream_credit=1000, max_output=5000, retained=2)
    g = spec_start(*[x for name, value in options.items() for x in ("--" + name.replace("_", "-"), value)])
    with g.client() as c, g.client() as d:
        assert {name: c.limits[name] for name in options} == options
        with background(c, cmd="sleep", args=["1000"]):
            assert flaw(c, "exec", cmd="true") == ("limit_exceeded", None)
        assert flaw(c, "exec", cmd="true", max_output=5001) == ("too_large", "max_output")
        done = [c.call("exec", cmd="true")["pid"] for _ in range(3)]
        assert [r["pid"] for r in c.call("process.list", exited=True)["processes"]] == done[1:]
        up = c.start("file.write", path=str(spec_dir / "f"), stream=True)
        up.upload(b"x" * 10000)
        up.end()
        assert up.wait()["bytes"] == 10000
        up = d.start("file.write", path=str(spec_dir / "g"), stream=True)
        d.send([2, "stream.data", {"id": up.id, "data": b"x" * 1001}])
        c.send(b"\0" * 65537)
        assert (lost(d), lost(c)) == ("invalid_request", "too_large")


def test_a_peer_that_takes_nothing_is_closed(spec_start):
    g = spec_start("--stall-s", 1)
    with g.client() as idle, g.client() as deaf:
        deaf.start("exec", cmd="yes", tag="spec-deaf", stream=True, window=2 << 30)
        eventually(lambda: idle.call("process.list")["processes"])
        eventually(lambda: not idle.call("process.list")["processes"])  # lost, so killed
