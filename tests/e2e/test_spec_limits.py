"""Limits, the token's too: §6 and §11 of PROTOCOL.md, asked with the client of its text alone."""

import contextlib
import select
import time

import pytest

import spec_client as sc
from spec_rig import spec_dir, spec_start  # noqa: F401 (fixtures)
from spec_rig import background, error, eventually, flaw, lost, sh


def test_token(spec_dir, spec_start):
    (spec_dir / "token").write_bytes(b"s3cret\n")
    g = spec_start("--token-file", spec_dir / "token")
    for right in (b"s3cret", "s3cret"):  # bytes: a str is taken too
        with g.client(token=right) as c:
            c.call("ping")
    for first in (("hello", dict(protocol=1)), ("hello", dict(protocol=1, token=b"s3cret\n")), ("ping", {}),
                  ("hello", dict(protocol=1, token=b"S3cret")), ("exec", dict(cmd="true")), ("no.such", {})):
        with g.connect() as c:
            c.start(first[0], **first[1])
            assert lost(c) == "unauthenticated", first


def test_eight_wait_without_token_and_ten_seconds_are_all_they_get(spec_dir, spec_start):
    (spec_dir / "token").write_bytes(b"s3cret")
    g = spec_start("--token-file", spec_dir / "token")
    with contextlib.ExitStack() as stack:
        waiting, begin = [], time.monotonic()

        def eight_wait_and_another_is_refused():  # a probe of the start may still be counted for a moment
            waiting.append(stack.enter_context(g.connect()))
            refused = [w for w in waiting if select.select([w.socket], [], [], 0.05)[0]]
            for w in refused:
                assert lost(w) == "limit_exceeded"
                waiting.remove(w)
            return refused and len(waiting) == 8
        eventually(eight_wait_and_another_is_refused)
        waiting[0].hello(token=b"s3cret")
        assert [lost(w, 20) for w in waiting[1:]] == ["unauthenticated"] * 7
        assert 9 < time.monotonic() - begin < 25
        waiting[0].call("ping")


def test_connections_are_limited(spec_start):
    g = spec_start("--connections", 2)
    with g.client() as c, contextlib.ExitStack() as stack:
        assert c.limits["connections"] == 2

        def second():  # the probe of the start may still be counted for a moment
            d = stack.enter_context(g.connect())
            try:
                d.hello()
                return d
            except sc.Lost as e:
                assert e.code == "limit_exceeded"
        d = eventually(second)
        with g.connect() as e:
            assert lost(e) == "limit_exceeded"
        c.call("ping"), d.call("ping")
        stack.close()
        eventually(second)


def test_requests_in_flight_are_limited(spec_start):
    with spec_start("--requests", 3).client() as c:
        slow = [c.start("exec", cmd="sleep", args=["1000"], timeout=0) for _ in range(3)]
        over = c.start("ping")
        with pytest.raises(sc.AgentError) as e:
            over.wait()
        assert e.value.code == "limit_exceeded"
        slow[0].cancel()
        slow[0].until(lambda: slow[0].done)  # with a result, or an error if its program hadn't started yet
        c.call("ping")


def test_limits_are_options_told_and_held(spec_dir, spec_start):
    options = dict(processes=1, max_frame=65536, stream_credit=1000, max_output=5000, retained=2)
    g = spec_start(*[x for name, value in options.items() for x in ("--" + name.replace("_", "-"), value)])
    with g.client() as c, g.client() as d:
        assert {name: c.limits[name] for name in options} == options
        with background(c, cmd="sleep", args=["1000"]):
            assert flaw(c, "exec", cmd="true") == ("limit_exceeded", None)
        assert flaw(c, "exec", cmd="true", max_output=5001) == ("too_large", "max_output")
        assert c.call("exec", **sh("head -c 9000 /dev/zero"))["stdout_bytes"] == 9000
        done = [c.call("exec", cmd="true")["pid"] for _ in range(3)]
        assert error(c, "process.get", pid=done[0]).code == "not_found"
        assert [r["pid"] for r in c.call("process.list", exited=True)["processes"]] == done[1:]
        up = c.start("file.write", path=str(spec_dir / "f"), stream=True)
        up.upload(b"x" * 10000)
        up.end()
        assert up.wait()["bytes"] == 10000
        up = d.start("file.write", path=str(spec_dir / "g"), stream=True)
        d.send([2, "stream.data", {"id": up.id, "data": b"x" * 1001}])
        assert lost(d) == "invalid_request"
        c.send(b"\0" * 65537)
        assert lost(c) == "too_large"


def test_exited_processes_are_remembered_for_a_while(spec_start):
    with spec_start("--retained-s", 1).client() as c:
        pid = c.call("exec", cmd="true")["pid"]
        assert c.call("process.get", pid=pid)["state"] == "exited"

        def forgotten():
            try:
                c.call("process.get", pid=pid)
            except sc.AgentError as e:
                return e.code == "not_found"
        eventually(forgotten)


def test_a_peer_that_takes_nothing_is_closed(spec_start):
    g = spec_start("--stall-s", 1)
    with g.client() as idle, g.client() as deaf:
        deaf.start("exec", cmd="yes", tag="spec-deaf", stream=True, window=2 << 30)

        def ended():
            return ["exited"] == [r["state"] for r in idle.call("process.list", exited=True)["processes"]]
        eventually(ended)  # the connection was lost, so the program was killed
        idle.call("ping")
