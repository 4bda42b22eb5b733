"""hello, ping, info, shutdown, ready, and guestd's own life: its main program, its signals, its end."""

import os
import signal
import socket
import time

import pytest

import procs
from expect import fails, has_shape, is_shape
from guestproto import ConnectionLost, encode_frame
from raw import Raw
from server import Guestd, read_frame
from until import SLOWER, until

pytestmark = pytest.mark.valgrind

DEFAULTS = {"connections": 64, "requests": 256, "max_frame": 1114112, "nesting": 16, "queue_connection": 8 << 20,
            "queue_total": 64 << 20, "stdin_buffer": 1 << 20, "stream_credit": 262144, "max_output": 64 << 20,
            "retained": 1024, "retained_s": 600, "watches": 64, "list_batch": 1024, "stall_s": 60, "ping_ms": 250}


def boot_id():
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


# ── hello ──

def test_hello(client):
    hello = client.hello()
    is_shape(hello, {"protocol": int, "version": str, "boot_id": str, "instance": str, "generation": int,
                     "kill_tree": str, "capabilities": dict, "limits": dict})
    assert (hello["protocol"], hello["boot_id"], hello["generation"]) == (1, boot_id(), 0)
    capabilities = hello["capabilities"]
    assert {"hello", "ping", "info", "shutdown", "exec", "process.list", "process.get", "process.wait", "process.kill",
            "file.write", "file.read", "file.list", "file.stat", "file.mkdir", "file.remove"} <= set(
                capabilities["methods"])
    assert {"none", "default"} <= set(capabilities["seccomp"])
    assert set(capabilities["controllers"]) <= {"memory", "pids", "cpu"}


def test_hello_tells_every_limit(client):
    limits = client.hello()["limits"]
    assert set(limits) == set(DEFAULTS) | {"processes", "output_total"}
    assert {name: limits[name] for name in DEFAULTS} == DEFAULTS
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert limits["output_total"] <= min(256 << 20, memory // 8)
    assert 0 < limits["processes"] <= 4096


def test_processes_are_lowered_to_what_the_fds_allow(start):
    guestd = start(shell="ulimit -n 1024")
    with guestd.connect() as client:
        assert 0 < client.hello()["limits"]["processes"] <= 256
        # and children have the limits that guestd was started with
        assert client.commands.run("ulimit -n").stdout == "1024\n"


@pytest.mark.parametrize("params, code, field", [
    ({}, "invalid_request", "protocol"), ({"protocol": 2}, "unsupported", "protocol"),
    ({"protocol": "1"}, "invalid_request", "protocol"), ({"protocol": 1, "max_frame": 100}, "invalid_request", "max_frame"),
    ({"protocol": 1, "client": 5}, "invalid_request", "client"),
    ({"protocol": 1, "client": "x" * 257}, "invalid_request", "client")])
def test_a_hello_that_is_wrong(client, params, code, field):
    with fails(code, field=field):
        client.call("hello", **params)


def test_hello_again_sets_max_frame_anew(client, folder):
    (folder / "f").write_bytes(bytes(500000))
    client.call("hello", protocol=1, max_frame=65536)
    result = client.call("file.read", path=str(folder / "f"))
    assert not result["eof"] and 10000 < len(result["data"]) < 65536
    client.call("hello", protocol=1)
    assert client.call("file.read", path=str(folder / "f"))["eof"]


def test_without_a_token_hello_is_optional(guestd):

    with Raw(guestd) as raw:
        raw.request(1, "exec", {"cmd": "echo", "args": ["hi"]})
        assert raw.answer(1)[3]["stdout"] == "hi\n"


# ── ping, info ──

def test_ping(client):
    before = time.time_ns()
    answer = client.ping()
    is_shape(answer, {"time_unix_ns": int, "uptime_ms": int, "last_active_at": float})
    assert before <= answer["time_unix_ns"] <= time.time_ns()
    with open("/proc/uptime") as file:
        assert 0 < answer["uptime_ms"] <= float(file.read().split()[0]) * 1000 + 50


def test_last_active_at_is_moved_by_use_and_survives_the_agent(start):
    guestd = start()
    with guestd.connect() as client:
        first = client.ping(touch=False)["last_active_at"]
        assert client.ping(touch=False)["last_active_at"] == first
        touched = client.ping()["last_active_at"]
        assert touched > first
        client.files.stat("/")
        assert client.ping(touch=False)["last_active_at"] == touched
        client.commands.run("true")
        used = client.ping(touch=False)["last_active_at"]
        assert used > touched

        def two_seconds_on():
            now = client.ping()["last_active_at"]
            return now if now > first + 2 else None
        used = until(two_seconds_on, "it is used on and on, on one connection")
        os.kill(guestd.agent(), signal.SIGKILL)
    with guestd.connect() as client:
        assert client.ping(touch=False)["last_active_at"] == pytest.approx(used, abs=1)


def test_info(client, guestd):
    client.commands.run("true")
    info = client.info()
    is_shape(info, {"version": str, "boot_id": str, "kernel": str, "arch": str, "pid1": bool, "cpus": int,
                    "memory": int, "supervisor_uptime_ms": int, "agent_uptime_ms": int, "restarts": int,
                    "template": (str, type(None)), "metrics": dict, "upgrade": dict, "supervisor_version": str,
                    "reexecs": int})
    assert info["boot_id"] == boot_id() and info["arch"] == os.uname().machine
    assert info["kernel"] == os.uname().release
    assert (info["pid1"], info["restarts"], info["template"]) == (False, 0, None)
    assert info["cpus"] == os.cpu_count() and info["memory"] > 1 << 20
    metrics = info["metrics"]
    has_shape(metrics, {"rss": int, "open_fds": int, "loop_lag_p50_ms": float, "loop_lag_p99_ms": float,
                        "queued_bytes": int, "frames_in": int, "frames_out": int, "processes_started": int,
                        "reaped_orphans": int, "dropped_bytes": int})
    assert metrics["processes_started"] >= 2 and metrics["frames_in"] > 2
    assert metrics["open_fds"] <= len(os.listdir("/proc/%d/fd" % guestd.agent())) + 1


def test_metrics(client):
    """Held against what this side reads of the same machine."""
    def meminfo(key):
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(key + ":"))
    metrics = client.metrics()
    shape = {"ts": int, "cpu_count": int, "cpu_used_pct": float, "cpu_total_ms": int, "mem_total": int, "mem_used": int,
             "mem_cache": int, "disk_total": int, "disk_used": int, "load": list}
    is_shape(metrics, dict(shape, psi=dict) if "psi" in metrics else shape)
    disk = os.statvfs("/")
    assert metrics["cpu_count"] == len(os.sched_getaffinity(0)) and abs(metrics["ts"] - time.time()) < 20
    assert metrics["mem_total"] == meminfo("MemTotal")
    assert metrics["mem_used"] == pytest.approx(meminfo("MemTotal") - meminfo("MemAvailable"), abs=1 << 30)
    assert metrics["disk_total"] == disk.f_blocks * disk.f_frsize
    assert metrics["disk_used"] == pytest.approx((disk.f_blocks - disk.f_bfree) * disk.f_frsize, abs=1 << 30)
    assert all(load >= 0 for load in metrics["load"]) and metrics["cpu_total_ms"] > 0


def test_metrics_tell_the_processors_since_they_were_asked_before(client):
    """A program burns a known time; what the processors did is at least that, and all of them are 100 %."""
    before = client.metrics()
    began = time.monotonic()
    used = client.commands.run("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
    after = client.metrics()
    wall_ms = (time.monotonic() - began) * 1000
    burnt = used.cpu_user_ms + used.cpu_sys_ms
    worked = after["cpu_total_ms"] - before["cpu_total_ms"]
    assert burnt - 50 <= worked <= (wall_ms + 50) * os.cpu_count()
    assert after["cpu_used_pct"] <= 100
    assert after["cpu_used_pct"] >= 80 * burnt / (wall_ms + 100) / os.cpu_count()
    assert client.metrics()["cpu_used_pct"] == after["cpu_used_pct"]  # too soon for another figure


def test_reaped_orphans_are_counted(client):
    before = client.info()["metrics"]["reaped_orphans"]
    client.commands.run("(setsid sh -c 'exit 0' &); (setsid sh -c 'exit 0' &)")
    until(lambda: client.info()["metrics"]["reaped_orphans"] >= before + 2, "both are counted")


# ── ready ──

def test_ready_says_who_it_is(start):
    guestd = start()
    kind, msgid, method, params = guestd.ready
    assert (kind, msgid, method) == (0, 0, "ready")
    is_shape(params, {"boot_id": str, "version": str, "uptime_ms": int, "listen": list})
    assert params["boot_id"] == boot_id() and params["listen"] == [guestd.address]
    with guestd.connect() as client:
        assert client.hello()["version"] == params["version"]


def test_ready_is_repeated_until_it_is_answered(folder):
    """Nobody there at first; then one who hangs up; then one who answers; and nothing after that."""
    guestd = Guestd("--ready", "unix:%s/ready" % folder, ready=False)
    try:
        until(lambda: os.path.exists(guestd.address[5:]), "it listens")
        with guestd.connect() as client:  # it serves before anybody took its call
            client.ping()
        with socket.socket(socket.AF_UNIX) as waiter:
            waiter.bind("%s/ready" % folder)
            waiter.listen(4)
            waiter.settimeout(20 * SLOWER)
            waiter.accept()[0].close()
            sock = waiter.accept()[0]
            sock.settimeout(20 * SLOWER)
            message = read_frame(sock)
            assert message[:3] == [0, 0, "ready"]
            sock.sendall(encode_frame([1, 0, None, {}]))
            assert sock.recv(1) == b""
            sock.close()
            waiter.settimeout(1.5)
            with pytest.raises(socket.timeout):
                waiter.accept()
    finally:
        guestd.stop()


def test_ready_is_owed_over_the_agent_s_death(folder):
    """An agent that dies before anybody answered leaves it to the next; one that was answered, to nobody."""
    guestd = Guestd("--ready", "unix:%s/ready" % folder, ready=False)
    try:
        with socket.socket(socket.AF_UNIX) as waiter:
            waiter.bind("%s/ready" % folder)
            waiter.listen(4)
            waiter.settimeout(20 * SLOWER)
            with waiter.accept()[0] as unanswered:
                unanswered.settimeout(20 * SLOWER)
                assert read_frame(unanswered)[:3] == [0, 0, "ready"]
                os.kill(guestd.agent(), signal.SIGKILL)
            with waiter.accept()[0] as sock:
                sock.settimeout(20 * SLOWER)
                assert read_frame(sock)[:3] == [0, 0, "ready"]
                sock.sendall(encode_frame([1, 0, None, {}]))
                assert sock.recv(1) == b""
            with guestd.connect() as client:  # what the agent knew then, the supervisor knows soon
                until(lambda: client.info()["restarts"] == 1, "it is the second agent")
                client.commands.run("true")
            os.kill(guestd.agent(), signal.SIGKILL)
            waiter.settimeout(1.5)
            with pytest.raises(socket.timeout):
                waiter.accept()
            with guestd.connect() as client:
                assert client.info()["restarts"] == 2
    finally:
        guestd.stop()


# ── the end ──

def test_shutdown_exit(start, folder):
    guestd = start()
    with guestd.connect() as client:
        client.commands.run("trap 'touch %s/bye; exit 0' TERM; touch %s/up; while :; do sleep 0.01; done"
                            % (folder, folder), background=True)
        until(lambda: (folder / "up").exists(), "its trap is set")
        assert client.call("shutdown", mode="exit", grace=20) == {}
    guestd.ended(0)
    assert (folder / "bye").exists()


def test_shutdown_kills_who_does_not_listen(start):
    guestd = start()
    with guestd.connect() as client:
        client.commands.run("trap '' TERM; while :; do sleep 0.01; done", background=True)
        client.commands.run("setsid sh -c 'trap \"\" TERM; while :; do sleep 0.01; done' & exit 0")
        client.shutdown("exit", grace=0.2)
    guestd.ended(0)


@pytest.mark.parametrize("mode", ["poweroff", "reboot"])
def test_power_is_only_for_the_machines_init(client, mode):
    with fails("permission_denied", field="mode"):
        client.shutdown(mode)
    client.ping()


@pytest.mark.parametrize("params, field", [
    ({}, "mode"), ({"mode": "explode"}, "mode"), ({"mode": "exit", "grace": -1}, "grace"),
    ({"mode": "exit", "grace": 3601}, "grace")])
def test_a_shutdown_that_is_wrong(client, params, field):
    with fails("invalid_request", field=field):
        client.call("shutdown", **params)


def test_while_it_stops_new_work_is_busy(start, folder):
    guestd = start()
    with guestd.connect() as client:
        client.commands.run("trap '' TERM; touch %s/up; while :; do sleep 0.01; done" % folder, background=True)
        until(lambda: (folder / "up").exists(), "its trap is set")
        client.shutdown("exit", grace=3)

        def refused():
            try:
                client.commands.run("true")
            except Exception as error:
                return error
        error = until(refused, "an exec is refused")
        assert getattr(error, "code", None) == "busy"
        client.ping()
        client.info()
    guestd.ended(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_gracefully(start, number):
    guestd = start()
    with guestd.connect() as client:
        client.commands.run("sleep 60", background=True)
        os.kill(guestd.pid, number)
        guestd.ended(0)
        with pytest.raises(ConnectionLost):
            client.ping()


def test_it_ignores_what_would_kill_a_careless_init(start):
    guestd = start()
    for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
        os.kill(guestd.pid, number)
    with guestd.connect() as client:
        assert client.commands.run("echo on").stdout == "on\n"


# ── the main program ──

@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_it_exits_with_its_programs_code(start, code):
    guestd = start(program=["sh", "-c", "exit %d" % code], ready=False)
    guestd.ended(code)


def test_it_exits_with_128_and_the_signal(start):
    guestd = start(program=["sh", "-c", "kill -TERM $$"], ready=False)
    guestd.ended(128 + signal.SIGTERM)


def test_a_program_that_cannot_start(start):
    guestd = start(program=["/no/such/program"], ready=False)
    guestd.ended(127)


def test_the_program_is_the_job_main(start, folder):
    guestd = start(program=["sh", "-c", "echo hello; until [ -e %s/go ]; do sleep 0.01; done; exit 5" % folder])
    with guestd.connect() as client:
        record = client.commands.get(tag="main")
        assert (record.state, record.cmd) == ("running", "sh")
        assert procs.alive(record.pid)
        with fails("already_exists", field="tag"):
            client.commands.run("true", background=True, tag="main")
        (folder / "go").touch()
    guestd.ended(5)


def test_sigterm_reaches_the_program_and_its_code_is_kept(start, folder):
    guestd = start(program=["sh", "-c", "trap 'exit 7' TERM; touch %s/up; while :; do sleep 0.01; done" % folder])
    until(lambda: (folder / "up").exists(), "its trap is set")
    guestd.stop(7)


# ── the command line ──

@pytest.mark.parametrize("options", [["--no-such"], ["--connections"], ["--connections", "x"], ["--connections", "-1"],
                                     ["stray"]])
def test_a_command_line_that_is_wrong(start, options):
    guestd = start(*options, ready=False)
    assert guestd.process.wait(20 * SLOWER) not in (0, None)
    assert guestd.stderr()
    guestd.ended(guestd.process.returncode)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version(start, option):
    guestd = start(option, listen="", ready=False)
    assert guestd.process.wait(20 * SLOWER) == 0
    said = (guestd.folder / "stdout").read_text()
    assert "guestd" in said
    if option == "--help":
        for name in ("--listen", "--token-file", "--allow-cid", "--ready", "--no-token", "--connections", "--stall-s"):
            assert name in said
    guestd.ended(0)
