"""Live processes: attach, stdin, terminals, keys, forget, upgrade, and what outlives the agent: §9 and §14 of PROTOCOL.md,
asked with the client of its text alone."""

import os
import pathlib
import signal

import pytest

import spec_client as sc
from spec_rig import RECORD, RESULT, background, eventually, flaw, has, sh  # noqa: F401
from spec_rig import spec_conn, spec_dir, spec_guestd  # noqa: F401 (fixtures)
from spec_rig import Guestd
from spec_steady import Steady


@pytest.fixture
def mortal():
    """A guestd whose agent may be killed."""
    g = Guestd()
    yield g
    g.stop()


def kill_agent(g):
    pid = agent(g)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: agent(g) not in (None, pid))


def agent(g):
    supervisor = g.process.pid
    children = pathlib.Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    for child in map(int, children):
        try:
            if b"agent-on-link" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        except OSError:
            pass


# ---- process.attach ----


def test_an_attach_begins_at_the_oldest_byte_and_ends_with_the_record(spec_conn, spec_dir):
    with background(spec_conn, **sh("echo one; echo err >&2; until [ -e go ]; do sleep 0.01; done; echo two; exit 3",
                                    cwd=str(spec_dir))) as p:
        calls = [spec_conn.start("process.attach", pid=p["pid"]) for _ in range(3)]
        calls[0].until(lambda: calls[0].data["stdout"])
        started = calls[0].events[0]
        assert (started["event"], started["pid"], started["tag"]) == ("started", p["pid"], p["tag"])
        assert started["from"] == {"stdout": 0, "stderr": 0} and "stdin" not in started
        (spec_dir / "go").touch()
        calls.append(spec_conn.start("process.attach", tag=p["tag"]))
        for call in calls:
            record = call.wait()
            assert call.data == {"stdout": b"one\ntwo\n", "stderr": b"err\n"} and not call.gaps
            assert call.ends == {"stdout": 8, "stderr": 4}
            has(record, RECORD)
            has(record, {k: v for k, v in RESULT.items() if k not in ("pid", "tag")})
            assert (record["state"], record["exit_code"]) == ("exited", 3)
        late = spec_conn.start("process.attach", pid=p["pid"])
        assert late.wait() == calls[0].result and late.data == calls[0].data


def test_from_offsets_and_now(spec_conn):
    with background(spec_conn, **sh("printf 0123456789; printf abc >&2; sleep 1000")) as p:
        full = spec_conn.start("process.attach", pid=p["pid"])
        full.until(lambda: full.off["stdout"] == 10 and full.off["stderr"] == 3)
        part = spec_conn.start("process.attach", pid=p["pid"], **{"from": {"stdout": 4}})
        part.until(lambda: part.off["stdout"] == 10 and part.off["stderr"] == 3)
        assert part.data == {"stdout": b"456789", "stderr": b"abc"}
        assert part.events[0]["from"] == {"stdout": 4, "stderr": 0}
        now = spec_conn.start("process.attach", pid=p["pid"], **{"from": "now"})
        now.until(lambda: now.events)
        assert now.events[0]["from"] == {"stdout": 10, "stderr": 3}
        for begin, field in (({"stdout": 11}, "from.stdout"), ({"stderr": 4}, "from.stderr"), ({"pty": 0}, "from.pty"),
                             ({"file": 0}, "from.file"), ({"stdout": -1}, "from.stdout"), ("end", "from"), (7, "from")):
            assert flaw(spec_conn, "process.attach", pid=p["pid"], **{"from": begin}) == ("invalid_request", field)
        now.cancel()
        with pytest.raises(sc.AgentError) as e:
            now.wait()
        assert e.value.code == "cancelled"
        assert spec_conn.call("process.get", pid=p["pid"])["state"] == "running"
        spec_conn.call("process.kill", pid=p["pid"])
        for call in full, part:
            assert call.wait()["reason"] == "killed"


def test_what_is_kept_no_more_is_a_gap(spec_conn):
    p = spec_conn.call("exec", background=True, max_output=10, **sh("printf 0123456789abcdefghij"))
    spec_conn.call("process.wait", pid=p["pid"])
    call = spec_conn.start("process.attach", pid=p["pid"])
    call.wait()
    (gap,) = call.gaps
    assert gap[:2] == ("stdout", 0) and 0 < gap[2] <= 10
    assert bytes(call.data["stdout"]) == b"0123456789abcdefghij"[gap[2]:]
    middle = spec_conn.start("process.attach", pid=p["pid"], **{"from": {"stdout": 5}})
    middle.wait()
    assert middle.gaps == [("stdout", 5, gap[2])] and middle.data == call.data
    assert flaw(spec_conn, "process.attach", pid=1)[0] == "not_found"


# ---- stdin ----


def test_stdin_is_one_sequence_of_bytes(spec_conn):
    with background(spec_conn, cmd="cat", stdin_open=True) as p:
        def put(data, **more):
            return spec_conn.call("process.input", pid=p["pid"], data=data, **more)["off"]
        assert put(b"") == 0
        assert put(b"hello ", off=0) == 6
        assert put(b"hello world", off=0) == 11      # what lies below is a repeat
        assert put(b"lo", off=3) == 11
        assert put(b"!\n") == 13                     # absent: behind all
        with pytest.raises(sc.AgentError) as e:
            put(b"x", off=14)
        assert (e.value.code, e.value.field, e.value.data) == ("invalid_request", "off", {"off": 13})
        call = spec_conn.start("process.attach", pid=p["pid"])
        call.until(lambda: call.events)
        assert call.events[0]["stdin"] == 13
        assert spec_conn.call("process.close_stdin", pid=p["pid"]) == {}
        assert spec_conn.call("process.close_stdin", pid=p["pid"]) == {}
        assert call.wait()["exit_code"] == 0 and call.data["stdout"] == b"hello world!\n"
        r = spec_conn.call("process.input", pid=p["pid"], data=b"late")
        assert (r["off"], r["closed"]) == (13, True)
        assert spec_conn.call("process.close_stdin", pid=p["pid"]) == {}


def test_stdin_has_room_for_so_much(spec_conn):
    with background(spec_conn, cmd="sleep", args=["1000"], stdin_open=True) as p:
        taken, data = 0, b"x" * 100000
        with pytest.raises(sc.AgentError) as e:
            while taken < 4 << 20:
                taken = spec_conn.call("process.input", pid=p["pid"], data=data, off=taken)["off"]
        assert (e.value.code, e.value.field, e.value.data) == ("busy", "data", {"off": taken})
        assert taken > (1 << 20) - 100000


def test_stdin_that_is_not_open(spec_conn):
    with background(spec_conn, cmd="sleep", args=["1000"]) as p:
        assert flaw(spec_conn, "process.input", pid=p["pid"], data=b"x") == ("invalid_request", "data")
        assert flaw(spec_conn, "process.close_stdin", pid=p["pid"])[0] == "invalid_request"
    assert flaw(spec_conn, "exec", cmd="cat", stdin=b"x", stdin_open=True)[0] == "invalid_request"


def test_stdin_by_stream_data(spec_conn):
    data = b"".join(b"%d\n" % i for i in range(200000))
    call = spec_conn.start("exec", cmd="cat", stream=True, stdin_open=True)
    call.upload(data)
    call.end()
    assert call.wait()["exit_code"] == 0 and call.data["stdout"] == data
    assert call.events[0]["stdin"] == 0
    call = spec_conn.start("exec", cmd="wc", args=["-c"], stdin_open=True)  # captured: the same, without `started`
    call.upload(data)
    call.end()
    assert int(call.wait()["stdout"]) == len(data) and not call.events


# ---- terminals ----


def test_a_terminal(spec_conn):
    call = spec_conn.start("exec", pty={"rows": 5, "cols": 33}, **sh("tty; stty size; echo $TERM; stty -echo; echo go; cat"))
    call.until(lambda: b"go\r\n" in call.data["pty"])
    pid = call.events[0]["pid"]
    assert call.data["pty"].split()[1:] == [b"5", b"33", b"xterm-256color", b"go"]
    assert call.events[0]["stdin"] == 0
    record = spec_conn.call("process.get", pid=pid)
    assert record["pty"] is True
    call.upload(b"typed\n")
    call.until(lambda: call.data["pty"].endswith(b"typed\r\n"))
    call.end()                                       # VEOF
    r = call.wait()
    assert (r["exit_code"], r["stdout_bytes"]) == (0, len(call.data["pty"])) and call.ends == {"pty": len(call.data["pty"])}


def test_a_terminal_in_the_background_is_resized_and_told_as_stdout(spec_conn):
    script = "trap 'stty size; exit 7' WINCH; echo up; while :; do sleep 0.01; done"
    p = spec_conn.call("exec", background=True, pty={"rows": 5, "cols": 33, "term": "dumb"}, **sh(script))
    call = spec_conn.start("process.attach", pid=p["pid"])
    call.until(lambda: call.data["pty"])
    assert spec_conn.call("process.resize", pid=p["pid"], rows=6, cols=44) == {}
    assert call.wait()["exit_code"] == 7
    assert call.data["pty"] == b"up\r\n6 44\r\n" and call.events[0]["from"] == {"pty": 0}
    r = spec_conn.call("process.wait", pid=p["pid"], output=True)
    assert (r["stdout"], r["stderr"]) == ("up\r\n6 44\r\n", "")


@pytest.mark.parametrize("pty, field", [
    ({"rows": 0, "cols": 5}, "pty.rows"), ({"rows": 5}, "pty.cols"), ({"rows": 5, "cols": 4097}, "pty.cols"),
    ({"rows": 5, "cols": 5, "x": 1}, "pty.x"), ({"rows": 5, "cols": 5, "term": 1}, "pty.term"), (5, "pty")])
def test_a_terminal_that_can_not_be(spec_conn, pty, field):
    assert flaw(spec_conn, "exec", cmd="true", pty=pty) == ("invalid_request", field)


def test_what_does_not_go_with_a_terminal(spec_conn):
    pty = {"rows": 5, "cols": 5}
    assert flaw(spec_conn, "exec", cmd="true", pty=pty, stdin=b"")[0] == "invalid_request"
    assert flaw(spec_conn, "exec", cmd="true", pty=pty, stream=False)[0] == "invalid_request"
    with background(spec_conn, cmd="sleep", args=["1000"]) as p:
        assert flaw(spec_conn, "process.resize", pid=p["pid"], rows=5, cols=5) == ("invalid_request", "rows")


# ---- limits ----


def test_limits(spec_conn):
    r = spec_conn.call("exec", limits={"nofile": 77, "core": 0, "nice": 5}, **sh("ulimit -n; ulimit -c; nice"))
    assert r["stdout"] == "77\n0\n5\n"
    assert flaw(spec_conn, "exec", cmd="true", limits={"nofile": -1}) == ("invalid_request", "limits.nofile")
    assert flaw(spec_conn, "exec", cmd="true", limits={"colour": 1}) == ("invalid_request", "limits.colour")
    held = spec_conn.hello()["capabilities"]["controllers"]
    for name, controller, value in (("memory_max", "memory", 1 << 28), ("pids_max", "pids", 50), ("cpu_max", "cpu", 0.5)):
        if controller in held:
            assert spec_conn.call("exec", cmd="true", limits={name: value})["exit_code"] == 0
        else:
            assert flaw(spec_conn, "exec", cmd="true", limits={name: value}) == ("unsupported", "limits." + name)


# ---- keys and forgetting ----


def test_one_key_is_one_run(spec_guestd, spec_conn, spec_dir):
    params = sh("echo ran >>ran; echo out; until [ -e go ]; do sleep 0.01; done; exit 4", cwd=str(spec_dir), key="once")
    first = spec_conn.start("exec", **params)
    eventually((spec_dir / "ran").exists)
    with spec_guestd.client() as other:
        second = other.start("exec", **dict(reversed(params.items())))  # in any order
        (spec_dir / "go").touch()
        assert first.wait() == second.wait()
    again = spec_conn.call("exec", **params)
    assert (again["exit_code"], again["stdout"], again["pid"]) == (4, "out\n", first.result["pid"])
    assert (spec_dir / "ran").read_text() == "ran\n"
    assert flaw(spec_conn, "exec", cmd="true", key="once") == ("already_exists", "key")
    assert spec_conn.call("process.forget", pid=again["pid"]) == {}
    assert flaw(spec_conn, "process.get", pid=again["pid"])[0] == "not_found"
    assert spec_conn.call("exec", cmd="true", key="once")["exit_code"] == 0


def test_a_streamed_run_is_joined_from_its_first_byte(spec_guestd, spec_conn, spec_dir):
    params = sh("echo one; until [ -e go ]; do sleep 0.01; done; echo two", cwd=str(spec_dir), key="s", stream=True)
    first = spec_conn.start("exec", window=1 << 20, **params)
    first.until(lambda: first.data["stdout"] == b"one\n")
    with spec_guestd.client() as other:
        second = other.start("exec", window=100, **params)  # the window doesn't count
        second.until(lambda: second.data["stdout"] == b"one\n")
        (spec_dir / "go").touch()
        for call in first, second:
            assert call.wait()["exit_code"] == 0 and call.data["stdout"] == b"one\ntwo\n"
        assert first.events[0]["pid"] == second.events[0]["pid"]


def test_a_lost_caller_ends_the_run_only_when_it_was_the_last(spec_guestd, spec_conn, spec_dir):
    params = sh("echo up; until [ -e go ]; do sleep 0.01; done", cwd=str(spec_dir), key="two", stream=True)
    with spec_guestd.client() as other:
        leaving = other.start("exec", **params)
        leaving.until(lambda: leaving.data["stdout"])
        staying = spec_conn.start("exec", **params)
        staying.until(lambda: staying.data["stdout"])
    spec_conn.call("ping")
    (spec_dir / "go").touch()
    assert staying.wait()["reason"] == "exited"


def test_a_background_run_by_key_and_a_failed_start_is_not_remembered(spec_conn, spec_dir):
    first = spec_conn.call("exec", cmd="sleep", args=["1000"], background=True, key="b")
    assert spec_conn.call("exec", cmd="sleep", args=["1000"], background=True, key="b") == first
    assert flaw(spec_conn, "process.forget", pid=first["pid"])[0] == "busy"
    spec_conn.call("process.kill", pid=first["pid"])
    script = spec_dir / "late"
    assert flaw(spec_conn, "exec", cmd=str(script), key="late") == ("not_found", "cmd")
    script.write_text("#!/bin/sh\nexit 6\n")
    script.chmod(0o755)
    assert spec_conn.call("exec", cmd=str(script), key="late")["exit_code"] == 6
    for key in ("", "x" * 257):
        assert flaw(spec_conn, "exec", cmd="true", key=key) == ("invalid_request", "key")


# ---- what outlives the agent ----


def test_a_client_resumes_everything_and_nothing_comes_twice(mortal, spec_dir):
    """One client of the text alone, and six agents that die."""
    text = b"".join(b"%d\n" % i for i in range(30000))
    with Steady(mortal.address) as steady, mortal.client() as plain:
        made = steady.call("exec", cmd="cat", background=True, stdin_open=True, max_output=4 << 20)
        watch = steady.stream("process.attach", pid=made["pid"])
        typed = steady.stream("exec", cmd="cat", stream=True, stdin_open=True, window=1 << 18)
        screen = steady.stream("exec", pty={"rows": 9, "cols": 9}, **sh("stty -echo -onlcr; echo go; exec cat"))
        printer = steady.stream("exec", stream=True, window=1 << 18, **sh(
            "i=0; while [ $i -lt 200 ]; do seq 1000; i=$((i + 1)); sleep 0.001; done; echo err >&2; exit 9"))
        for i in range(6):
            kill_agent(mortal)
            part = text[i * len(text) // 6:(i + 1) * len(text) // 6]
            assert steady.input(part, pid=made["pid"])
            typed.type(part)
            screen.type(b"line %d\n" % i)
        kill_agent(mortal)
        steady.call("process.close_stdin", pid=made["pid"])
        typed.type(b"", end=True)
        screen.type(b"", end=True)
        assert watch.wait()["exit_code"] == 0 and watch.data["stdout"] == text
        assert typed.wait()["exit_code"] == 0 and typed.data["stdout"] == text
        assert screen.wait()["exit_code"] == 0
        assert screen.data["pty"] == b"go\n" + b"".join(b"line %d\n" % i for i in range(6))
        assert printer.wait()["exit_code"] == 9
        assert printer.data["stdout"] == b"".join(b"%d\n" % i for i in range(1, 1001)) * 200
        assert printer.data["stderr"] == b"err\n"
        for told in watch, typed, screen, printer:
            assert not told.gaps
        assert steady.losses >= 7 and steady.call("info")["restarts"] == 7
        with pytest.raises((sc.Lost, ConnectionError)):
            plain.call("ping")


def test_a_captured_run_and_its_deadline_outlive_the_agent(mortal):
    with Steady(mortal.address) as steady:
        call = steady.c.start("exec", timeout=0.5, key="slow", **sh("echo out; exec sleep 1000"))
        with mortal.client() as other:
            eventually(lambda: other.call("process.list")["processes"])
        kill_agent(mortal)
        with pytest.raises((sc.Lost, ConnectionError)):
            call.wait()
        steady.renew()
        r = steady.c.call("exec", timeout=0.5, key="slow", **sh("echo out; exec sleep 1000"))
        assert (r["reason"], r["exit_code"], r["stdout"]) == ("timed_out", 124, "out\n")


# ---- upgrade ----


def test_upgrade_is_checked_before_anything_happens(spec_conn, spec_dir):
    (spec_dir / "text").write_text("no program")
    digest = "42" * 32
    assert flaw(spec_conn, "upgrade", path="relative", sha256=digest) == ("invalid_request", "path")
    assert flaw(spec_conn, "upgrade", path=str(spec_dir / "none"), sha256=digest)[0] == "not_found"
    assert flaw(spec_conn, "upgrade", path=str(spec_dir / "text"), sha256="42") == ("invalid_request", "sha256")
    assert flaw(spec_conn, "upgrade", path=str(spec_dir / "text"), sha256=digest)[0] in ("wrong_type", "invalid_request")
    assert flaw(spec_conn, "upgrade", path="/proc/self/exe", sha256=digest) == ("invalid_request", "sha256")
    assert spec_conn.call("info")["upgrade"] == {"state": "none", "at": None}
