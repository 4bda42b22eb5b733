"""What PROTOCOL.md promises (§ are its sections), asked of $GUESTD by a client that was written from that text alone."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import time

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
RESULT = dict(exit_code=int, duration_ms=int, pid=int, tag=str, reason=str, core_dumped=bool, stdout_bytes=int, stderr_bytes=int,
              truncated=bool, pipes_open=bool, descendants=int, killed_descendants=int, cpu_user_ms=int, max_rss_kb=int)
RECORD = dict(pid=int, tag=str, cmd=str, args=list, cwd=str, user=str, background=bool, pty=bool, state=str, started_at=float)
ENTRY = dict(name=str, path=str, type=str, size=int, mode=int, permissions=str, owner=str, group=str, modified_at=int)


class Guestd:
    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="spec-")
        self.address = f"unix:{self.folder}/s"
        self.process = subprocess.Popen([os.environ["GUESTD"], "--listen", self.address, *map(str, options)],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.terminate()
            assert self.process.wait(30) == 0
        finally:
            self.process.kill()
            self.process.wait()
            shutil.rmtree(self.folder)

    def connect(self):
        with contextlib.suppress(OSError):
            return sc.connect(self.address)

    @contextlib.contextmanager
    def client(self, hello=True, **params):
        with sc.Client(eventually(self.connect), params.get("max_frame", 8 << 20)) as c:
            assert not hello or c.hello(**params)
            yield c


@pytest.fixture(scope="module")
def spec_start():
    """Starts guestds and ends them."""
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(Guestd(*options))


@pytest.fixture(scope="module")
def spec_guestd(spec_start):
    return spec_start()


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


def alive(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"


def vector(name):
    """What a vector's first line says of it, and its bytes."""
    lines = (VECTORS / name).read_text().splitlines()
    return lines[0].lstrip("# "), bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


# ---- opening a connection: §1, §6, §8 ----

def test_token(spec_dir, spec_start):
    (spec_dir / "token").write_bytes(b"s3cret\n")
    g = spec_start("--token-file", spec_dir / "token")
    with g.client(token=b"s3cret") as c, g.client(token="s3cret") as d:  # bytes: a str is taken too
        c.call("ping"), d.call("ping")
    for method, params in (("hello", dict(protocol=1)), ("hello", dict(protocol=1, token=b"s3cret\n")), ("ping", {}),
                           ("exec", dict(cmd="true")), (None, None)):
        with g.client(hello=False) as c:
            assert not method or c.start(method, **params)
            assert lost(c) == "unauthenticated", method  # silence is too, after 10 s


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


# ---- frames and messages: §2, §3, §13 ----

@pytest.mark.parametrize("name", sorted(p.name for p in VECTORS.glob("*.hex")))
def test_vectors_here_and_at_the_agent(spec_guestd, name):
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
            with pytest.raises(TimeoutError):
                agent.read(time.monotonic() + 0.1)
        elif what in ("error: MESSAGE_METHOD", "error: MESSAGE_PARAMS"):
            kind, _, e, result = agent.read(time.monotonic() + 10)
            assert (kind, e["code"], e["field"], result) == (1, code, what[15:].lower(), None)
            agent.call("ping")
        else:
            assert lost(agent) == code


@pytest.mark.parametrize("code, body", [  # a missing, an unknown, a repeated and a mistyped key; 262145 objects; a long body
    ("invalid_request", [2, "stream.credit", {"id": 1}]), ("invalid_request", [2, "stream.end", {"id": 1, "x": None}]),
    ("invalid_request", b"\x93\x02\xadstream.cancel\x82\xa2id\x01\xa2id\x01"), ("invalid_request", [2, "stream.end", {"id": 1.0}]),
    ("too_large", [0, 1, "ping", {"x": [None] * (262144 - 6)}]), ("too_large", b"\0" * 1114113)])
def test_what_ends_a_connection_and_no_other(spec_guestd, spec_conn, body, code):
    with spec_guestd.client() as c:
        c.send(body)
        assert lost(c) == code
    spec_conn.call("ping")


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


def test_typed_errors_of_exec(spec_conn, spec_dir):
    (spec_dir / "orphan").write_text("#!/no/such/interpreter\n"), (spec_dir / "text").write_text("hello")
    os.chmod(spec_dir / "orphan", 0o755), os.chmod(spec_dir / "text", 0o755)
    for expected, params in (
            ("not_found cmd", dict(cmd="no-such-program")), ("not_found cmd", dict(cmd=f"{spec_dir}/orphan")),
            ("permission_denied cmd", dict(cmd="/etc/passwd")), ("permission_denied cmd", dict(cmd=str(spec_dir))),
            ("wrong_type cmd", dict(cmd=f"{spec_dir}/text")), ("not_found cwd", dict(cwd="/no/such")),
            ("wrong_type cwd", dict(cwd=f"{spec_dir}/text")), ("too_large max_output", dict(max_output=(64 << 20) + 1)),
            ("not_found user", dict(user="no-such")), ("too_large args", dict(args=["x" * 200000])),
            ("unsupported pty", dict(pty={"rows": 24})), ("unsupported stdin_open", dict(stdin_open=True)),
            ("unsupported limits", dict(limits={})), ("unsupported key", dict(key="k"))):
        assert flaw(spec_conn, "exec", **{"cmd": "true", **params}) == tuple(expected.split()), params


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
    *what, r = end('trap "" TERM; while :; do sleep 0.05; done', timeout=0.2, kill_grace=0.4)
    assert what == ["timed_out", "SIGKILL", 124] and 500 <= r["duration_ms"] < 10000
    *what, r = end("setsid sh -c 'sleep 1000 & echo $!; wait' & (sleep 1000 & echo $!) & wait; wait", timeout=0.5)
    assert what == ["timed_out", "SIGTERM", 124] and r["killed_descendants"] >= 2
    assert len(r["stdout"].split()) == 2 and not any(map(alive, r["stdout"].split()))


@pytest.mark.parametrize("encoding, script, expected", [
    ("auto", r"printf 'h\303\251'", ("utf-8", "hé", "")), ("auto", r"printf ok; printf '\377' >&2", ("base64", "b2s=", "/w==")),
    ("utf-8", r"printf 'a\377b'", ("utf-8", "a\ufffdb", "")), ("raw", r"printf 'a\377\000'", ("raw", b"a\xff\0", b""))])
def test_encodings(spec_conn, encoding, script, expected):
    r = spec_conn.call("exec", encoding=encoding, **sh(script))
    assert (r["encoding"], r["stdout"], r["stderr"]) == expected


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
    call.cancel(), call.grant(1 << 30)
    r = call.wait()
    assert (r["reason"], r["exit_code"]) == ("cancelled", 137)
    assert call.ends == {"stdout": call.off["stdout"], "stderr": 0} and call.data["stdout"].startswith(b"y\n" * 6)


def test_cancel(spec_conn):
    call = spec_conn.start("exec", cmd="sleep", args=["1000"], timeout=0, tag="spec-cancel")
    eventually(lambda: "spec-cancel" in [r["tag"] for r in spec_conn.call("process.list")["processes"]])
    call.cancel()
    r = call.wait()
    assert (r["reason"], r["exit_code"], r["signal"], r["stdout"]) == ("cancelled", 137, "SIGTERM", "")
    p = spec_conn.call("exec", cmd="sleep", args=["1000"], background=True)
    wait = spec_conn.start("process.wait", pid=p["pid"])
    wait.cancel(), wait.until(lambda: wait.done)
    assert wait.error["code"] == "cancelled" and alive(p["pid"])
    assert spec_conn.call("process.kill", pid=p["pid"]) == {} and not alive(p["pid"])  # answers when it is reaped


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
    assert not os.listdir(spec_dir) and spec_conn.call("ping")


# ---- processes: §9 ----

def test_background_list_get_wait_kill(spec_guestd, spec_conn):
    def pids(**params):
        return [r["pid"] for r in spec_conn.call("process.list", **params)["processes"]]
    p = spec_conn.call("exec", background=True, **sh("echo hi; exec sleep 1000", cwd="/", tag="spec-list", user="nobody"))
    r = spec_conn.call("process.get", tag="spec-list")
    has(r, RECORD)
    assert (r["pid"], r["cwd"], r["state"], r["background"], r["user"]) == (p["pid"], "/", "running", True, "nobody")
    assert p["pid"] in pids() and flaw(spec_conn, "process.wait", tag="spec-list", timeout=0)[0] == "timeout"
    with spec_guestd.client() as other:
        waits = [c.start("process.wait", tag="spec-list", output=True) for c in (spec_conn, spec_conn, other)]
        eventually(lambda: pathlib.Path(f"/proc/{p['pid']}/comm").read_text() == "sleep\n")  # it has said hi
        assert spec_conn.call("process.kill", tag="spec-list", signal="TERM") == {}
        for r in [w.wait() for w in waits]:
            has(r, dict(RESULT, encoding=str))
            assert (r["stdout"], r["reason"], r["signal"], r["exit_code"]) == ("hi\n", "killed", "SIGTERM", 143)
    r = spec_conn.call("process.get", pid=p["pid"])
    has(r, dict(RECORD, **RESULT))
    assert r["state"] == "exited" and not {"stdout", "stderr", "encoding"} & set(r)
    assert p["pid"] not in pids() and p["pid"] in pids(exited=True)
    for method in ("process.get", "process.wait", "process.kill"):
        assert flaw(spec_conn, method)[0] == flaw(spec_conn, method, pid=1, tag="x")[0] == "invalid_request"
        assert flaw(spec_conn, method, tag="no such")[0] == flaw(spec_conn, method, pid=os.getpid())[0] == "not_found"


# ---- files: §10 ----

def test_write_in_one_frame_and_in_pieces(spec_conn, spec_dir):
    def write(data, path=spec_dir / "f", **params):
        r = spec_conn.call("file.write", path=str(path), data=data, **params)
        assert r["bytes"] == len(data)
        return path.read_bytes(), r["entry"]
    path = spec_dir / "f"
    content, entry = write(b"\0one\xff")
    has(entry, dict(ENTRY, symlink_target=type(None)))
    assert content == b"\0one\xff" and (entry["name"], entry["path"], entry["permissions"]) == ("f", str(path), "-rw-r--r--")
    os.chown(path, 7, 8)
    assert write(b"", mode=0o4751)[1]["permissions"] == "-rwsr-x--x"
    assert write(b"0123", fsync=True)[1]["mode"] == 0o4751 and (path.stat().st_uid, path.stat().st_gid) == (7, 8)  # kept
    assert write(b"45", append=True)[0] == b"012345" and write(b"ab", off=1)[0] == b"0ab345" and write(b"y", off=6)[0] == b"0ab345y"
    write(b"", path=spec_dir / "a/b/c", create_parents=True)


def test_typed_errors_of_write(spec_conn, spec_dir):
    (spec_dir / "old").write_text("old")
    for expected, errno, path, params in (
            ("invalid_request path", 36, "x" * 256, {}), ("not_found path", 2, "no/such", {}), ("wrong_type path", 21, "", {}),
            ("wrong_type path", 20, "old/f", {}), ("permission_denied path", 13, "f", dict(user="nobody")),
            ("not_found user", None, "f", dict(user="no-such")), ("invalid_request mode", None, "f", dict(mode=4096)),
            ("invalid_request size", None, "old", dict(size=2)), ("invalid_request sha256", None, "old", dict(sha256="0" * 64)),
            ("invalid_request sha256", None, "f", dict(sha256="xyz")), ("invalid_request off", None, "old", dict(off=4))):
        with pytest.raises(sc.AgentError) as e:
            spec_conn.call("file.write", path=str(spec_dir / path), data=b"x", **params)
        assert f"{e.value.code} {e.value.field}" == expected and errno in (None, e.value.errno), path
    assert os.listdir(spec_dir) == ["old"] and (spec_dir / "old").read_text() == "old"


def test_a_streamed_upload(spec_conn, spec_dir):
    path, data = spec_dir / "f", os.urandom(3 << 20)
    path.write_text("old")
    up = spec_conn.start("file.write", path=str(path), stream=True, size=len(data), sha256=hashlib.sha256(data).hexdigest(), mode=0o600)
    up.upload(data)
    assert path.read_text() == "old"
    up.end()
    r = up.wait()
    assert r["bytes"] == r["entry"]["size"] == len(data) and r["entry"]["mode"] == 0o600 and path.read_bytes() == data


@pytest.mark.parametrize("how", ["lost", "cancel", "sha256", "size"])
def test_a_broken_upload_leaves_the_old_file_and_no_litter(spec_guestd, spec_dir, how):
    (spec_dir / "f").write_text("old")
    with spec_guestd.client() as c:
        params = {"sha256": dict(sha256="0" * 64), "size": dict(size=500001)}.get(how, {})
        up = c.start("file.write", path=str(spec_dir / "f"), stream=True, **params)
        up.upload(b"x" * 500000)
        if how != "lost":
            up.cancel() if how == "cancel" else up.end()
            up.until(lambda: up.done)
            assert (up.error["code"], up.error.get("field")) == (("invalid_request", how) if how[0] == "s" else ("cancelled", None))
    eventually(lambda: os.listdir(spec_dir) == ["f"])
    assert (spec_dir / "f").read_text() == "old"


def test_read(spec_conn, spec_dir):
    path, data = spec_dir / "f", os.urandom(2 << 20)
    path.write_bytes(data), path.chmod(0o600), os.mkfifo(spec_dir / "fifo")
    for off, n, params in ((0, 1 << 20, {}), (5, 3, dict(len=3)), (1 << 20, 1 << 20, {}), (len(data) - 2, 2, {}), (len(data) + 5, 0, {})):
        r = spec_conn.call("file.read", path=str(path), off=off, **params)
        assert (r["data"], r["size"], r["eof"]) == (data[off:off + n], len(data), off + n >= len(data))
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


def test_list(spec_conn, spec_dir):
    def ls(**params):
        r = spec_conn.call("file.list", path=str(spec_dir), **params)
        return [os.path.relpath(os.fsencode(e["path"]), os.fsencode(spec_dir)) for e in r["entries"]], r["truncated"]
    (spec_dir / "b/deep/er").mkdir(parents=True)
    for name in (b"b/deep/er/x", b"b/B", b"b/a", b"Z", b"\xfe"):
        open(os.fsencode(spec_dir) + b"/" + name, "x").close()
    (spec_dir / "b.c").symlink_to("b")
    two = [b"Z", b"b", b"b/B", b"b/a", b"b/deep", b"b.c", b"\xfe"]  # in the order of their bytes, each before what is in it
    assert ls() == ([b"Z", b"b", b"b.c", b"\xfe"], False) and ls(depth=2) == (two, False)
    assert ls(depth=9) == (two[:5] + [b"b/deep/er", b"b/deep/er/x"] + two[5:], False)
    assert ls(depth=2, limit=4) == (two[:4], True) and ls(depth=2, limit=7) == (two, False) and ls(depth=0) == ([b"."], False)
    assert spec_conn.call("file.list", path=str(spec_dir))["entries"][-1]["name"] == b"\xfe"
    assert flaw(spec_conn, "file.list", path=str(spec_dir / "Z")) == ("wrong_type", "path")
    assert flaw(spec_conn, "file.list", path=str(spec_dir), limit=0) == ("invalid_request", "limit")


def test_a_streamed_list_comes_in_batches_that_fit(spec_start, spec_dir):
    names = [f"{i:03}{'x' * 200}" for i in range(60)]
    for name in names:
        (spec_dir / name).touch()
    g = spec_start("--list-batch", 50)
    for limit, frame in ((None, 8 << 20), (12, 8 << 20), (None, 4096)):
        with g.client(max_frame=frame) as c:
            call = c.start("file.list", path=str(spec_dir), stream=True, limit=limit)
            assert call.wait()["truncated"] is bool(limit) and all(e["event"] == "entries" and len(e["entries"]) <= 50 for e in call.events)
            assert [x["name"] for e in call.events for x in e["entries"]] == names[:limit]
            assert frame > 4096 or c.call("file.list", path=str(spec_dir))["truncated"]


def test_stat(spec_conn, spec_dir):
    def entry(path, **params):
        return spec_conn.call("file.stat", path=str(path), **params)["entry"]
    (spec_dir / "f").write_text("12345"), (spec_dir / "link").symlink_to("f")
    os.chown(spec_dir / "f", 0, 54321), os.utime(spec_dir / "f", (1, 1234567890.75))
    e = entry(f"/{spec_dir}///f/")
    has(e, dict(ENTRY, symlink_target=type(None)))
    assert (e["path"], e["type"], e["size"], e["permissions"]) == (str(spec_dir / "f"), "file", 5, "-rw-r--r--")
    assert (e["owner"], e["group"], e["modified_at"]) == ("root", "54321", 1234567890)
    assert entry(spec_dir / "link")["symlink_target"] == "f" and entry(spec_dir / "link", follow=True)["type"] == "file"
    assert entry("/")["name"] == entry("/")["path"] == "/" and entry("/dev/null")["type"] == "char_device"


def test_mkdir_and_remove(spec_conn, spec_dir):
    def mkdir(name, **params):
        return spec_conn.call("file.mkdir", path=str(spec_dir / name), **params)["created"], stat.S_IMODE((spec_dir / name).stat().st_mode)
    assert mkdir("a/b/c", mode=0o1770) == (True, 0o1770) and stat.S_IMODE((spec_dir / "a/b").stat().st_mode) == 0o755
    assert mkdir("a/b/c", mode=0o700) == (False, 0o1770) and mkdir("a/locked", parents=False) == (True, 0o755)
    for name in ("a/b/f", "a/locked/f", "a/x"):
        (spec_dir / name).touch()
    for expected, method, name, params in (
            ("wrong_type path", "mkdir", "a/x", {}), ("not_found path", "mkdir", "x/y", dict(parents=False)),
            ("not_found path", "remove", "no", {}), ("invalid_request path", "remove", "a/..", {})):
        assert flaw(spec_conn, f"file.{method}", path=str(spec_dir / name), **params) == tuple(expected.split())
    (spec_dir / "a/b/out").symlink_to(spec_dir / "a/locked")
    assert spec_conn.call("file.remove", path=str(spec_dir / "a/b"))["removed"] == 4
    os.chown(spec_dir / "a", 65534, 65534)
    with pytest.raises(sc.AgentError, match="permission_denied") as e:  # what can't be removed doesn't stop the rest
        spec_conn.call("file.remove", path=str(spec_dir / "a"), user="nobody")
    assert os.listdir(spec_dir / "a") == ["locked"]
    assert e.value.data["removed"] == 1 and e.value.data["failed"] >= 1 and e.value.data["path"] == f"{spec_dir}/a/locked/f"


# ---- limits: §11 ----

def test_limits_are_options_told_and_held(spec_start, spec_dir):
    options = dict(processes=1, requests=2, max_frame=65536, stream_credit=1000, max_output=5000, retained=2)
    g = spec_start(*[x for name, value in options.items() for x in ("--" + name.replace("_", "-"), value)])
    with g.client() as c:
        assert {name: c.limits[name] for name in options} == options
        assert flaw(c, "exec", cmd="true", max_output=5001) == ("too_large", "max_output")
        done = [c.call("exec", cmd="true")["pid"] for _ in range(3)]
        assert [r["pid"] for r in c.call("process.list", exited=True)["processes"]] == done[1:]
        c.start("exec", cmd="sleep", args=["1000"])
        assert flaw(c, "exec", cmd="true") == ("limit_exceeded", None)  # processes
        c.start("file.write", path=str(spec_dir / "g"), stream=True)
        assert flaw(c, "ping") == ("limit_exceeded", None)  # requests
        c.send(b"\0" * 65537)
        assert lost(c) == "too_large"
