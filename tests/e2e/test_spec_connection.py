"""Addresses, opening a connection, the capsule: §1, §6, §8 of PROTOCOL.md, asked with the client of its text alone."""

import os
import pathlib
import re
import signal
import socket
import stat
import time

import pytest

import spec_client as sc
from spec_rig import spec_conn, spec_dir, spec_guestd, spec_start  # noqa: F401 (fixtures)
from spec_rig import alive, background, error, eventually, flaw, has, lost, sh

METHODS = ("hello ping info metrics shutdown exec process.list process.get process.wait process.kill "
           "file.write file.read file.list file.stat file.mkdir file.remove").split()
LIMITS = dict(connections=64, requests=256, max_frame=1114112, nesting=16, queue_connection=8 << 20,
              queue_total=64 << 20, stdin_buffer=1 << 20, stream_credit=262144, max_output=64 << 20, retained=1024,
              retained_s=600, watches=64, list_batch=1024, stall_s=60, ping_ms=250)


def test_a_unix_socket_is_private_and_removed_at_exit(spec_start):
    g = spec_start()
    assert stat.S_IMODE(os.stat(g.path).st_mode) == 0o600
    with g.client() as c:
        c.call("ping")
    g.process.terminate()
    assert g.process.wait(30) == 0
    assert not os.path.exists(g.path)


def test_a_dead_socket_is_replaced_a_live_one_and_another_file_are_not(spec_dir, spec_start):
    dead, file = str(spec_dir / "dead"), spec_dir / "file"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(dead)
    g = spec_start(listen="unix:" + dead)
    second = spec_start(listen="unix:" + dead, ends=True)
    assert second.process.wait(20) != 0
    with g.client() as c:
        c.call("ping")
    file.write_text("precious")
    third = spec_start(listen=f"unix:{file}", ends=True)
    assert third.process.wait(20) != 0
    assert file.read_text() == "precious"


def test_several_addresses_and_an_inherited_socket(spec_dir, spec_start):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(spec_dir / "inherited"))
        s.listen(8)
        g = spec_start("--listen", f"unix:{spec_dir}/other", listen=f"fd:{s.fileno()}", pass_fds=[s.fileno()])
        g.address = f"unix:{spec_dir}/other"
        eventually(g.accepts)
        with g.client() as c, sc.Client(f"unix:{spec_dir}/inherited") as d:
            assert c.hello()["boot_id"] == d.hello()["boot_id"]


def test_tcp_takes_who_shows_the_token_and_needs_one(spec_dir, spec_start):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"tcp:127.0.0.1:{s.getsockname()[1]}"
    assert spec_start(listen=address, ends=True).process.wait(20) != 0
    (spec_dir / "token").write_text("s3cret")
    g = spec_start("--token-file", spec_dir / "token", listen=address)
    with g.client(token=b"s3cret") as c:
        assert c.call("exec", cmd="echo", args=["hi"])["stdout"] == "hi\n"
    with g.connect() as c:
        c.start("hello", protocol=1, token=b"wrong")
        assert lost(c) == "unauthenticated"


def test_hello_tells_what_is_there(spec_guestd):
    with spec_guestd.connect() as c:
        h = c.hello(client="spec/1")
    has(h, dict(protocol=int, version=str, boot_id=str, instance=str, generation=int, kill_tree=str, capabilities=dict,
                limits=dict))
    assert (h["protocol"], h["generation"]) == (1, 0)
    assert h["boot_id"] == pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert h["kill_tree"] in ("cgroup", "best_effort")
    has(h["capabilities"], dict(methods=list, seccomp=list, controllers=list))
    assert set(METHODS) <= set(h["capabilities"]["methods"])
    assert set(h["capabilities"]["controllers"]) <= {"memory", "pids", "cpu"}
    assert {name: h["limits"].get(name) for name in LIMITS} == LIMITS
    assert 0 < h["limits"]["processes"] <= 4096 and 0 < h["limits"]["output_total"] <= 256 << 20
    assert all(type(value) is int for value in h["limits"].values())


@pytest.mark.parametrize("params, expected", [
    (dict(protocol=2), ("unsupported", "protocol")),
    (dict(), ("invalid_request", "protocol")),
    (dict(protocol=None), ("invalid_request", "protocol")),
    (dict(protocol=1.0), ("invalid_request", "protocol")),
    (dict(protocol=True), ("invalid_request", "protocol")),
    (dict(protocol=1, max_frame=4095), ("invalid_request", "max_frame")),
    (dict(protocol=1, max_frame=1 << 32), ("invalid_request", "max_frame")),
    (dict(protocol=1, client=b"bin"), ("invalid_request", "client")),
    (dict(protocol=1, client="x" * 257), ("invalid_request", "client")),
    (dict(protocol=1, token="x" * 257), ("invalid_request", "token")),
    (dict(protocol=1, version=1), ("invalid_request", "version")),
])
def test_hello_is_checked_and_the_connection_goes_on(spec_guestd, params, expected):
    with spec_guestd.connect() as c:
        assert flaw(c, "hello", **params) == expected
        c.call("ping")


def test_without_a_token_hello_is_optional_and_a_token_not_looked_at(spec_guestd):
    with spec_guestd.connect() as c:
        c.call("info")
        c.hello(token=b"whatever")
        c.hello()


def test_hello_again_sets_max_frame_anew(spec_conn):
    with background(spec_conn, cmd="sleep", args=["1000"], tag="t" * 100, envs={}) as p:
        with background(spec_conn, **sh("sleep 1000; " + "#" * 4050)) as big:
            spec_conn.hello(max_frame=4096)
            assert error(spec_conn, "process.get", pid=big["pid"]).code == "too_large"
            assert spec_conn.call("process.get", pid=p["pid"])["state"] == "running"
            spec_conn.hello(max_frame=1 << 20)
            assert spec_conn.call("process.get", pid=big["pid"])["state"] == "running"


def test_ready_calls_out_until_it_is_answered(spec_dir, spec_start):
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(str(spec_dir / "ready"))
        host.listen(8)
        host.settimeout(15)
        g = spec_start("--ready", f"unix:{spec_dir}/ready")
        for answer in (None, sc.frame([1, 0, None, {}])):  # the first is closed without one
            with sc.Client(host.accept()[0]) as c:
                kind, msgid, method, params = c.read(time.monotonic() + 10)
                assert (kind, msgid, method) == (0, 0, "ready")
                has(params, dict(boot_id=str, version=str, uptime_ms=int, listen=list))
                assert params["listen"] == [g.address]
                if answer:
                    c.send_raw(answer)


# ---- §8 the capsule ----


def test_ping_and_info(spec_conn):
    p = spec_conn.call("ping")
    has(p, dict(time_unix_ns=int, uptime_ms=int, last_active_at=float))
    assert abs(p["time_unix_ns"] / 1e9 - time.time()) < 10
    assert abs(p["uptime_ms"] / 1e3 - float(pathlib.Path("/proc/uptime").read_text().split()[0])) < 10
    i = spec_conn.call("info")
    has(i, dict(version=str, boot_id=str, kernel=str, arch=str, pid1=bool, cpus=int, memory=int,
                supervisor_uptime_ms=int, agent_uptime_ms=int, restarts=int, template=type(None), metrics=dict))
    has(i["metrics"], dict(rss=int, open_fds=int, loop_lag_p50_ms=float, loop_lag_p99_ms=float, queued_bytes=int,
                           frames_in=int, frames_out=int, processes_started=int, reaped_orphans=int, dropped_bytes=int))
    assert i["pid1"] is False and i["kernel"] == os.uname().release and i["arch"] == os.uname().machine


def test_metrics(spec_conn):
    m = spec_conn.call("metrics")
    has(m, dict(ts=int, cpu_count=int, cpu_used_pct=float, cpu_total_ms=int, mem_total=int, mem_used=int, mem_cache=int,
                disk_total=int, disk_used=int, load=list))
    assert abs(m["ts"] - time.time()) < 10 and 0 <= m["cpu_used_pct"] <= 100
    assert ("psi" in m) == os.access("/proc/pressure/io", os.R_OK)
    for waits in m.get("psi", {}).values():
        has(waits, dict(some=float, full=float))
    spec_conn.call("ping", touch=True)
    active = spec_conn.call("ping", touch=False)["last_active_at"]
    spec_conn.call("metrics")
    assert spec_conn.call("ping", touch=False)["last_active_at"] == active


def test_last_active_at_is_moved_by_exec_and_touching_pings(spec_conn):
    def look():
        return spec_conn.call("ping", touch=False)["last_active_at"]
    spec_conn.call("ping")
    first = look()
    spec_conn.call("info")
    assert look() == first
    eventually(lambda: spec_conn.call("ping") and look() > first)
    second = look()
    eventually(lambda: spec_conn.call("exec", cmd="true") and look() > second)


def test_shutdown(spec_start):
    g = spec_start()
    with g.client() as c:
        assert flaw(c, "shutdown") == ("invalid_request", "mode")
        assert flaw(c, "shutdown", mode="sleep") == ("invalid_request", "mode")
        assert flaw(c, "shutdown", mode="exit", grace=3601) == ("invalid_request", "grace")
        assert flaw(c, "shutdown", mode="poweroff") == ("permission_denied", "mode")
        assert flaw(c, "shutdown", mode="reboot") == ("permission_denied", "mode")
        stubborn = c.call("exec", background=True, **sh('trap "" TERM; while :; do sleep 0.05; done'))
        status = pathlib.Path(f"/proc/{stubborn['pid']}/status")
        eventually(lambda: int(re.search(r"SigIgn:\s*(\w+)", status.read_text())[1], 16) & 1 << signal.SIGTERM - 1)
        gentle = c.call("exec", cmd="sleep", args=["1000"], background=True)
        assert c.call("shutdown", mode="exit", grace=2) == {}
        assert error(c, "exec", cmd="true").code == "busy"
        c.call("ping"), c.call("info"), c.hello()
        assert g.process.wait(20) == 0
        assert not alive(stubborn["pid"]) and not alive(gentle["pid"])
