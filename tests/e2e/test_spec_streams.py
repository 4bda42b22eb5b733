"""Streams, credit, cancel: §7 of PROTOCOL.md, asked with the client of its text alone."""

import pathlib

import pytest

import spec_client as sc
from spec_rig import spec_conn, spec_dir, spec_guestd  # noqa: F401 (fixtures)
from spec_rig import RESULT, alive, background, eventually, has, lost, running, sh


def test_a_streamed_exec(spec_conn):
    call = spec_conn.start("exec", stream=True, **sh("echo out; echo err >&2; exit 5", tag="spec-s"))
    r = call.wait()
    started = call.events[0]
    assert (started["event"], started["pid"], started["tag"]) == ("started", r["pid"], "spec-s")
    assert call.data == {"stdout": b"out\n", "stderr": b"err\n"} and call.ends == {"stdout": 4, "stderr": 4}
    has(r, RESULT)
    assert r["exit_code"] == 5 and not {"stdout", "stderr", "encoding"} & set(r)


@pytest.mark.parametrize("window", [1 << 20, 5000, 2 << 20])
def test_a_stream_loses_nothing(spec_conn, window):
    call = spec_conn.start("exec", cmd="seq", args=["1", "700000"], stream=True, window=window)
    r = call.wait(60)
    assert bytes(call.data["stdout"]) == b"".join(b"%d\n" % i for i in range(1, 700001)) and not call.gaps
    assert call.ends == {"stdout": r["stdout_bytes"], "stderr": 0}


def test_credit_is_what_the_agent_sends(spec_conn):
    """The text's own example."""
    call = spec_conn.start("exec", auto=False, cmd="yes", stream=True, window=8)
    call.until(lambda: call.came == 8)
    for _ in range(20):  # more than was credited raises Untrusted
        spec_conn.call("ping")
    call.grant(4)
    call.until(lambda: call.came == 12)
    assert call.data["stdout"] == b"y\n" * 6 and call.off["stdout"] == 12
    call.cancel()
    call.grant(1 << 30)
    r = call.wait()
    assert (r["reason"], r["exit_code"]) == ("cancelled", 137) and call.ends["stderr"] == 0
    assert call.ends["stdout"] == call.off["stdout"]


def test_credit_counts_both_channels_and_a_window_of_0_is_silence(spec_conn):
    call = spec_conn.start("exec", auto=False, stream=True, window=0, **sh("printf abcd; printf efgh >&2"))
    call.until(lambda: call.events)
    spec_conn.call("ping")
    assert call.came == 0
    call.grant(3)
    call.until(lambda: call.came == 3)
    call.grant(5)
    r = call.wait()
    assert call.data == {"stdout": b"abcd", "stderr": b"efgh"} and r["exit_code"] == 0


def test_a_client_that_gives_no_credit_delays_nobody(spec_guestd, spec_conn):
    call = spec_conn.start("exec", auto=False, cmd="head", args=["-c", "30000000", "/dev/zero"], stream=True, window=0)
    call.until(lambda: call.events)
    with spec_guestd.client() as other:
        for c in (spec_conn, other):
            full = c.start("exec", cmd="head", args=["-c", "5000000", "/dev/zero"], stream=True)
            full.wait()
            assert full.came == 5000000
            assert c.call("exec", cmd="echo", args=["x"])["stdout"] == "x\n"
    assert spec_conn.call("process.get", pid=call.events[0]["pid"])["state"] == "running"  # it waits in its pipe
    call.auto, call.window = True, 1 << 20
    call.grant(1 << 20)
    assert call.wait(60)["exit_code"] == 0 and call.came == 30000000 and not call.gaps


def test_cancel(spec_conn):
    call = spec_conn.start("exec", cmd="sleep", args=["1000"], timeout=0, tag="spec-cancel")
    eventually(lambda: "spec-cancel" in running(spec_conn))
    call.cancel()
    r = call.wait()
    assert (r["reason"], r["exit_code"], r["signal"], r["status"]) == ("cancelled", 137, "SIGTERM", None)
    assert r["stdout"] == ""
    with background(spec_conn, cmd="sleep", args=["1000"]) as p:
        wait = spec_conn.start("process.wait", pid=p["pid"])
        wait.cancel()
        with pytest.raises(sc.AgentError) as e:
            wait.wait()
        assert e.value.code == "cancelled" and alive(p["pid"])
    ping = spec_conn.start("ping")
    ping.cancel()  # too late for it, or not
    ping.until(lambda: ping.done)


def test_notifications_of_closed_ids_are_dropped(spec_conn, spec_dir):
    for closed in (123456, 2**32 - 1, 2**32, 2**64 - 1):  # an id that is no u32 can't be in flight either
        for m in ("stream.cancel", "stream.end"):
            spec_conn.send([2, m, {"id": closed}])
        spec_conn.send([2, "stream.data", {"id": closed, "data": b"x" * 300000}])
        spec_conn.send([2, "stream.credit", {"id": closed, "bytes": 2**64 - 1}])
    spec_conn.call("ping")
    up = spec_conn.start("file.write", path=str(spec_dir / "f"), stream=True)
    up.grant(2**64 - 1)  # for a request that sends no data
    up.grant(2**64 - 1)
    up.end()
    up.end()
    assert up.wait()["bytes"] == 0


@pytest.mark.parametrize("what", ["too much", "after the end", "to no upload", "credit"])
def test_stream_notifications_that_end_the_connection(spec_guestd, spec_conn, spec_dir, what):
    with spec_guestd.client() as c:
        if what == "credit":
            call = c.start("exec", cmd="sleep", args=["1000"], stream=True, window=2)
            call.grant(2**64 - 2)
        elif what == "to no upload":
            call = c.start("exec", cmd="sleep", args=["1000"])
            c.send([2, "stream.data", {"id": call.id, "data": b"x"}])
        else:
            call = c.start("file.write", path=str(spec_dir / "f"), stream=True, size=1 << 30)
            if what == "too much":
                c.send([2, "stream.data", {"id": call.id, "data": b"x" * 262145}])
            else:
                c.send_raw(sc.frame([2, "stream.end", {"id": call.id}]) +
                           sc.frame([2, "stream.data", {"id": call.id, "data": b"x"}]))
        if what == "after the end":  # the answer may have closed the id before the data came
            with pytest.raises((sc.Lost, sc.AgentError)) as e:
                call.wait()
            assert e.value.code == "invalid_request"
        else:
            assert lost(c) == "invalid_request"
    assert not (spec_dir / "f").exists()
    spec_conn.call("ping")


def test_streams_to_a_client_with_small_frames(spec_guestd, spec_dir):
    for i in range(300):
        (spec_dir / f"{i:03}{'x' * 200}").touch()
    with spec_guestd.client(max_frame=4096) as c:
        call = c.start("exec", cmd="seq", args=["1", "70000"], stream=True)
        call.wait()
        assert bytes(call.data["stdout"]) == b"".join(b"%d\n" % i for i in range(1, 70001))
        call = c.start("file.read", path="/bin/sh", stream=True)
        call.wait()
        assert call.data["file"] == pathlib.Path("/bin/sh").read_bytes()
        call = c.start("file.list", path=str(spec_dir), stream=True)
        assert call.wait()["truncated"] is False
        assert sum(len(e["entries"]) for e in call.events) == 300


def test_credit_right_behind_the_request_counts(spec_conn):
    call = spec_conn.start("exec", auto=False, cmd="yes", stream=True, window=0)
    call.grant(8)
    call.until(lambda: call.came == 8)
    call.cancel()
    call.grant(1 << 30)
    call.wait()


def test_on_full_drop_overwrites_the_oldest_and_tells_the_gap(spec_conn):
    script = "seq 1 300000; echo done >&2"  # more than a pipe holds: it ends only if nobody waits for credit
    call = spec_conn.start("exec", auto=False, stream=True, window=0, max_output=1000, on_full="drop", **sh(script))
    call.until(lambda: call.events)
    assert spec_conn.call("process.wait", pid=call.events[0]["pid"])["exit_code"] == 0
    assert call.came == 0
    call.grant(1 << 20)
    r = call.wait()
    written = b"".join(b"%d\n" % i for i in range(1, 300001))
    kept = bytes(call.data["stdout"])
    assert 0 < len(kept) <= 1000 and written.endswith(kept) and call.data["stderr"] == b"done\n"
    assert [(ch, end) for ch, _, end in call.gaps] == [("stdout", len(written) - len(kept))]
    assert call.ends == {"stdout": len(written), "stderr": 5} and r["stdout_bytes"] == len(written) and r["truncated"]
