"""Background, selecting, listing, waiting, killing: §9 of PROTOCOL.md, asked with the client of its text alone."""

import os
import signal
import time

import pytest

from spec_rig import spec_conn, spec_dir, spec_guestd  # noqa: F401 (fixtures)
from spec_rig import RECORD, RESULT, alive, background, error, eventually, flaw, has, running, sh


def test_background_list_get_wait(spec_guestd, spec_conn, spec_dir):
    spec_dir.chmod(0o777)
    script = f"echo hi; echo > {spec_dir}/up; sleep 1000; exit"
    with background(spec_conn, **sh(script, cwd="/", tag="spec-list", user="nobody")) as p:
        eventually((spec_dir / "up").exists)  # it has said hi
        assert set(p) >= {"pid", "tag"} and p["tag"] == "spec-list" and alive(p["pid"])
        for selector in (dict(pid=p["pid"]), dict(tag="spec-list")):
            r = spec_conn.call("process.get", **selector)
            has(r, RECORD)
            assert (r["pid"], r["tag"], r["cmd"], r["cwd"], r["state"]) == (p["pid"], "spec-list", "sh", "/", "running")
            assert r["background"] is True and r["pty"] is False and r["user"] == "nobody"
            assert r["args"][0] == "-c" and not {"exit_code", "exited_at"} & set(r)
            assert abs(r["started_at"] - time.time()) < 60
        assert p["pid"] in [r["pid"] for r in spec_conn.call("process.list")["processes"]]
        assert flaw(spec_conn, "exec", cmd="true", tag="spec-list") == ("already_exists", "tag")
        assert error(spec_conn, "process.wait", tag="spec-list", timeout=0).code == "timeout"
        assert error(spec_conn, "process.wait", tag="spec-list", timeout=0.1).code == "timeout"
        with spec_guestd.client() as other:
            waits = [c.start("process.wait", tag="spec-list", output=True) for c in (spec_conn, spec_conn, other)]
            assert spec_conn.call("process.kill", tag="spec-list", signal="TERM") == {}
            for w in waits:
                r = w.wait()
                has(r, dict(RESULT, stdout=str, stderr=str, encoding=str))
                assert (r["stdout"], r["reason"], r["signal"], r["exit_code"]) == ("hi\n", "killed", "SIGTERM", 143)
    assert "stdout" not in spec_conn.call("process.wait", tag="spec-list")
    assert spec_conn.call("process.wait", tag="spec-list", output=True, encoding="raw")["stdout"] == b"hi\n"
    record = spec_conn.call("process.get", pid=p["pid"])
    has(record, dict(RECORD, exited_at=float, **RESULT))
    assert abs((record["exited_at"] - record["started_at"]) * 1000 - record["duration_ms"]) < 1000
    assert record["state"] == "exited" and not {"stdout", "stderr", "encoding"} & set(record)
    assert p["pid"] not in [r["pid"] for r in spec_conn.call("process.list")["processes"]]
    assert p["pid"] in [r["pid"] for r in spec_conn.call("process.list", exited=True)["processes"]]
    with background(spec_conn, cmd="sleep", args=["1000"], tag="spec-list") as again:  # the running one is meant
        assert spec_conn.call("process.get", tag="spec-list")["pid"] == again["pid"] != p["pid"]


def test_selectors(spec_conn):
    for method in ("process.get", "process.wait", "process.kill"):
        assert error(spec_conn, method).code == "invalid_request"
        assert error(spec_conn, method, pid=1, tag="x").code == "invalid_request"
        assert error(spec_conn, method, tag="no such tag").code == "not_found"
        assert error(spec_conn, method, pid=os.getpid()).code == "not_found"  # not started by guestd


@pytest.mark.parametrize("how, name", [
    ({}, "SIGKILL"), (dict(signal="SIGINT"), "SIGINT"), (dict(signal="USR1"), "SIGUSR1"), (dict(signal=15), "SIGTERM"),
    (dict(signal="TERM", scope="leader"), "SIGTERM"), (dict(signal=9, scope="group"), "SIGKILL"),
])
def test_kill(spec_conn, how, name):
    with background(spec_conn, cmd="sleep", args=["1000"]) as p:
        spec_conn.call("process.kill", pid=p["pid"], **how)
        if name == "SIGKILL":  # answers when the leader is reaped
            assert not alive(p["pid"])
        r = spec_conn.call("process.wait", pid=p["pid"], timeout=20)
        assert (r["reason"], r["signal"], r["exit_code"]) == ("killed", name, 128 + signal.Signals[name])
        assert error(spec_conn, "process.kill", pid=p["pid"]).code == "not_found"


def test_kill_scopes_and_flaws(spec_conn, spec_dir):
    script = "sleep 1000 & echo $! > pids; setsid sleep 1000 & echo $! >> pids; echo > up; wait; wait"
    with background(spec_conn, **sh(script, cwd=str(spec_dir))) as p:
        eventually((spec_dir / "up").exists)
        inside, outside = map(int, (spec_dir / "pids").read_text().split())
        eventually(lambda: os.getsid(outside) == outside)
        for bad in ("NOPE", "", "SIGSIGTERM", "sigterm", "term", 1000, 65, 0, -1, 2.0, True):
            assert flaw(spec_conn, "process.kill", pid=p["pid"], signal=bad) == ("invalid_request", "signal"), bad
        assert flaw(spec_conn, "process.kill", pid=p["pid"], scope="all") == ("invalid_request", "scope")
        assert alive(p["pid"]) and alive(inside) and alive(outside)
        spec_conn.call("process.kill", pid=p["pid"], signal="USR1", scope="group")
        eventually(lambda: not alive(inside) and not alive(p["pid"]))
        assert alive(outside)
        os.kill(outside, signal.SIGKILL)
    os.remove(spec_dir / "up")
    with background(spec_conn, **sh(script, cwd=str(spec_dir))) as p:
        eventually((spec_dir / "up").exists)
        pids = list(map(int, (spec_dir / "pids").read_text().split()))
        spec_conn.call("process.kill", pid=p["pid"])  # the tree
        eventually(lambda: not any(map(alive, pids + [p["pid"]])))


def test_a_record_has_whole_arguments_up_to_4_kib(spec_conn):
    args = ["x" * 3000, "y" * 3000]
    pid = spec_conn.call("exec", cmd="true", args=args)["pid"]
    assert spec_conn.call("process.get", pid=pid)["args"] == args[:1]


def test_what_does_not_fit_is_too_large(spec_guestd, spec_conn):
    p = spec_conn.call("exec", background=True, **sh("head -c 20000 /dev/zero"))
    for _ in range(3):
        spec_conn.call("exec", cmd="true", args=["x" * 3000])
    with spec_guestd.client(max_frame=8192) as c:
        assert error(c, "process.list", exited=True).code == "too_large"
        assert flaw(c, "process.wait", pid=p["pid"], output=True) == ("too_large", "output")
        assert c.call("process.wait", pid=p["pid"])["stdout_bytes"] == 20000


def test_a_lost_connection_kills_the_foreground_and_not_the_background(spec_guestd, spec_conn):
    with spec_guestd.client() as c:
        c.start("exec", cmd="sleep", args=["1000"], tag="spec-fore", timeout=0)
        streamed = c.start("exec", cmd="yes", tag="spec-stream", stream=True, window=10)
        streamed.until(lambda: streamed.came == 10)
        p = c.call("exec", cmd="sleep", args=["1000"], tag="spec-back", background=True)
        eventually(lambda: "spec-fore" in running(spec_conn))
        fore = spec_conn.call("process.get", tag="spec-fore")["pid"]
    eventually(lambda: not alive(fore) and not alive(streamed.events[0]["pid"]))
    assert alive(p["pid"]) and spec_conn.call("process.get", tag="spec-back")["state"] == "running"
    spec_conn.call("process.kill", tag="spec-back")
