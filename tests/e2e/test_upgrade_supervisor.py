"""The supervisor executes another file in its own place: the same process, the same programs, and all that was known of
them. What can't take over is refused beforehand; what doesn't come to serve is gone again, the supervisor too."""

import hashlib
import os
import signal
import time

import pytest

import procs
import spec_client as sc
import upgrades
from expect import fails
from feeding import Feeder, result
from guestproto import ConnectionLost, Data, Gap
from server import GUESTD
from terminal import Terminal
from test_upgrade import VERSION, check_rolled_back
from until import SLOWER, until

KIB = 1024


def upgrade(guestd, path=upgrades.NEXT):
    """Both from `path`, and it is still the process that was started."""
    pid, agent = guestd.pid, guestd.agent()
    version = upgrades.upgrade(guestd, path, supervisor=True)
    assert guestd.process.poll() is None and guestd.pid == pid and guestd.agent() != agent
    return version


def until_there(path):
    return "until [ -e %s ]; do sleep 0.01; done" % path


# ── the swap ──

def test_the_next_supervisor_is_the_same_process(start):
    guestd = start()
    arguments, name = procs.arguments(guestd.pid), procs.status(guestd.pid, "Name")
    with guestd.connect() as client:
        instance, before = client.hello()["instance"], client.info()
        client.commands.run("true")
    began = time.time()
    assert upgrade(guestd) == upgrades.NEXT_VERSION
    with guestd.connect() as client:
        info = client.info()
        assert (info["version"], info["supervisor_version"]) == (upgrades.NEXT_VERSION, upgrades.NEXT_VERSION)
        assert (info["reexecs"], info["restarts"]) == (1, 1)
        assert info["upgrade"]["state"] == "done" and began <= info["upgrade"]["at"] <= time.time()
        assert info["supervisor_uptime_ms"] >= before["supervisor_uptime_ms"]
        assert info["metrics"]["processes_started"] == 1
        assert client.hello()["instance"] == instance
        assert client.commands.run("echo on").stdout == "on\n"
    assert [argument for argument in procs.arguments(guestd.pid) if argument] == arguments
    assert procs.status(guestd.pid, "Name") == name
    assert guestd.stderr() == ""


def test_and_back_again_and_the_agent_alone_in_between(start):
    guestd = start()
    told = []
    for path, both in ((upgrades.NEXT, True), (GUESTD, False), (GUESTD, True), (upgrades.NEXT, False), (GUESTD, True)):
        upgrades.upgrade(guestd, path, supervisor=both)
        with guestd.connect() as client:
            info = client.info()
            told.append((info["version"], info["supervisor_version"], info["reexecs"]))
    assert told == [("99.0.0", "99.0.0", 1), (VERSION, "99.0.0", 1), (VERSION, VERSION, 2), ("99.0.0", VERSION, 2),
                    (VERSION, VERSION, 3)]


def test_fds_are_the_same_after_many_and_none_leaks(start):
    guestd = start()
    with guestd.connect() as client:
        keeps = client.commands.run("sleep", ["60"], background=True, stdin_open=True)
        terminal = client.commands.run("sleep", ["60"], background=True, pty={"rows": 24, "cols": 80})
        client.commands.run("echo exited", background=True).wait(20)

    def look():
        with guestd.connect() as client:
            inside = client.commands.run("ls -l /proc/self/fd | wc -l").stdout, len(procs.fds(guestd.agent()))
        memfds = [os.readlink("/proc/%d/fd/%s" % (guestd.pid, fd)) for fd in os.listdir("/proc/%d/fd" % guestd.pid)]
        return (len(procs.fds(guestd.pid)), sum("guestd-state" in fd for fd in memfds),
                sum("guestd-store" in fd for fd in memfds), inside)
    upgrade(guestd)
    before = look()
    for n in range(20):
        upgrade(guestd, (GUESTD, upgrades.NEXT)[n % 2])
    fds, states, stores, inside = look()
    # One more exited job each time: that of the look.
    assert (fds, states, stores, inside) == (before[0], 0, before[2] + 1, before[3])
    assert procs.alive(keeps.pid) and procs.alive(terminal.pid)


def test_an_agent_that_dies_afterwards_comes_back_as_the_new_version(start):
    guestd = start()
    upgrade(guestd)
    old = guestd.agent()
    os.kill(old, 9)
    until(lambda: guestd.agent() != old, "the next agent is there")
    with guestd.connect() as client:
        assert client.hello()["version"] == upgrades.NEXT_VERSION


# ── what goes on ──

def test_output_in_every_mode(start, folder):
    guestd = start()
    script = "seq 1 500; touch half-$0; %s; seq 501 4000; exit 3" % until_there("go")
    whole = "".join("%d\n" % n for n in range(1, 4001))
    modes = ("head", "tail", "kill")
    with guestd.connect() as client:
        for mode in modes:
            for size in (4096, 1 << 20):
                client.commands.run("sh", ["-c", script, "%s-%d" % (mode, size)], background=True, cwd=str(folder),
                                    tag="%s-%d" % (mode, size), max_output=size, overflow=mode)
        until(lambda: len(list(folder.glob("half-*"))) == 6, "they have printed a part")
    upgrade(guestd)
    (folder / "go").touch()
    with guestd.connect() as client:
        got = {tag: client.commands.wait(tag=tag, output=True, timeout=20) for tag in
               ("%s-%d" % (mode, size) for mode in modes for size in (4096, 1 << 20))}
    for mode in modes:
        large = got["%s-%d" % (mode, 1 << 20)]
        assert (large.stdout, large.exit_code, large.truncated) == (whole, 3, False)
    assert (got["head-4096"].stdout, got["head-4096"].exit_code) == (whole[:4096], 3)
    assert (got["tail-4096"].stdout, got["tail-4096"].exit_code) == (whole[-4096:], 3)
    assert got["kill-4096"].reason == "output_limit" and got["kill-4096"].stdout == whole[:4096]


def test_a_program_that_waits_for_its_reader(start):
    """A full BLOCK ring, whose reader comes back by its key: each byte once."""
    guestd = start()
    text = b""
    with guestd.connect() as client:
        stream = client.commands.exec_stream("seq", ["1", "200000"], max_output=4096)
        for item in stream:
            assert not isinstance(item, Gap), item
            if not isinstance(item, Data) or item.ch != "stdout":
                continue
            assert item.off == len(text)
            if text == b"" or len(text) < 500000 <= len(text) + len(item.data):
                upgrade(guestd, upgrades.NEXT if text == b"" else GUESTD)
            text += item.data
        assert stream.result().exit_code == 0
    assert text == b"".join(b"%d\n" % n for n in range(1, 200001))


def test_stdin_that_waits(start, folder):
    """More than the pipe holds, an end behind it, and what comes later."""
    guestd = start()
    with sc.Client(guestd.address) as client:
        late = ["-c", until_there(folder / "go") + "; cat"]
        open_, shut = (client.call("exec", cmd="sh", args=late, stdin_open=True, background=True)["pid"] for _ in "ab")
        for pid in (open_, shut):
            assert client.call("process.input", pid=pid, data=b"x" * 900000) == {"off": 900000}
        client.call("process.close_stdin", pid=shut)
        hashed = client.call("exec", cmd="sha256sum", stdin_open=True, background=True)["pid"]
        gone = client.call("exec", cmd="head", args=["-c", "1"], stdin_open=True, background=True)["pid"]
        client.call("process.input", pid=gone, data=b"abc")
        client.call("process.wait", pid=gone)
    feeder = Feeder(hashed, os.urandom(1 << 20), 4 << 20)
    for n in range(4):
        with sc.Client(guestd.address) as client:
            feeder.feed(client, feeder.total * (n + 1) // 4)
        upgrade(guestd, (upgrades.NEXT, GUESTD)[n % 2])
    (folder / "go").touch()
    with sc.Client(guestd.address) as client:
        assert client.call("process.input", pid=open_, data=b"x" * 900000, off=0) == {"off": 900000}
        assert client.call("process.input", pid=open_, data=b"y", off=900000) == {"off": 900001}
        client.call("process.close_stdin", pid=open_)
        assert result(client, open_)["stdout"] == b"x" * 900000 + b"y"
        assert client.call("process.input", pid=shut, data=b"more", off=900000) == {"off": 900000, "closed": True}
        assert result(client, shut)["stdout"] == b"x" * 900000
        client.call("process.close_stdin", pid=hashed)
        sha = hashlib.sha256(feeder.block * 4).hexdigest()
        assert result(client, hashed)["stdout"].split()[0].decode() == sha
        assert client.call("process.input", pid=gone, data=b"", off=0)["closed"] is True


def test_a_terminal_and_its_screen(start):
    guestd = start()
    with guestd.connect() as client:
        pid = client.commands.run("sh", ["-c", "stty size; read a; echo got $a; stty size; read b; echo and $b; exit 7"],
                                  background=True, pty={"rows": 30, "cols": 90}).pid
        client.call("process.resize", pid=pid, rows=31, cols=91)
        client.call("process.input", pid=pid, data=b"first\n")
        until(lambda: b"31 91" in output(client, pid), "the program saw its terminal's size")
    upgrade(guestd)
    with guestd.connect() as client:
        terminal = Terminal(client.start("process.attach", pid=pid))
        terminal.shows("got first")
        client.call("process.resize", pid=pid, rows=40, cols=100)
        client.call("process.input", pid=pid, data=b"second\n")
        terminal.shows("and second")
        assert terminal.result()["exit_code"] == 7


def output(client, pid):
    """What there is of it so far."""
    stream, text = client.start("process.attach", pid=pid), b""
    try:
        while (item := stream.next(0.05)) is not None:
            text += item.data if isinstance(item, Data) else b""
    except TimeoutError:
        pass
    stream.cancel()
    return text


def test_deadlines_and_graces(start, folder):
    """One that passes afterwards, one that passes in between, a grace that is under way: each at its time."""
    guestd = start()
    stubborn = "trap 'touch told' TERM; touch up; while :; do sleep 0.05; done"
    with guestd.connect() as client:
        later = client.commands.run("sleep", ["60"], background=True, timeout=1.5)
        graced = client.commands.run(stubborn, background=True, timeout=0.2, kill_grace=2, cwd=str(folder))
        began = time.monotonic()
        until((folder / "told").exists, "it was told to end, and doesn't")
        for path in (upgrades.NEXT, GUESTD):
            upgrade(guestd, path)
    assert procs.alive(graced.pid)
    with guestd.connect() as client:
        assert client.commands.wait(pid=later.pid, timeout=20).reason == "timed_out"
        assert client.commands.wait(pid=graced.pid, timeout=20).reason == "timed_out"
    assert 2.1 < time.monotonic() - began < 3.5 * SLOWER


def test_what_exited_is_remembered_with_its_key(start, folder):
    guestd = start()
    request = {"cmd": "sh", "args": ["-c", "echo run >> runs; echo out; exit 4"], "cwd": str(folder), "key": "once"}
    with guestd.connect() as client:
        captured = client.call("exec", **request)
        done = client.commands.run("echo done; exit 5", background=True, tag="done")
        done.wait(20)
        killed = client.commands.run("sleep", ["60"], background=True, tag="killed")
        client.commands.kill(tag="killed")
        fields = {tag: client.commands.get(tag=tag).fields for tag in ("done", "killed")}
        running = client.call("exec", cmd="sleep", args=["60"], background=True, key="runs", tag="runs")
    for path in (upgrades.NEXT, GUESTD):
        upgrade(guestd, path)
        with guestd.connect() as client:
            assert client.call("exec", **request) == captured
            for tag, was in fields.items():
                assert client.commands.get(tag=tag).fields == was
            assert client.commands.wait(tag="done", output=True).stdout == "done\n"
            assert client.call("exec", cmd="sleep", args=["60"], background=True, key="runs", tag="runs") == running
            with fails("already_exists"):
                client.commands.run("true", background=True, tag="runs")
    assert (folder / "runs").read_text() == "run\n"
    assert killed.pid == fields["killed"]["pid"]


def test_programs_that_end_during_the_swap(start):
    """Hundreds of short ones around many swaps: no exit code and no byte is lost."""
    guestd = start()
    expected = {}
    for n in range(6):
        with guestd.connect() as client:
            for i in range(40):
                code = (n * 40 + i) % 200
                pid = client.commands.run("sleep 0.0%d; echo %d; exit %d" % (i % 10, code, code), background=True).pid
                expected[pid] = code
        upgrade(guestd, (upgrades.NEXT, GUESTD)[n % 2])
    with guestd.connect() as client:
        for pid, code in expected.items():
            record = client.commands.wait(pid=pid, output=True, timeout=20)
            assert (record.exit_code, record.stdout, record.reason) == (code, "%d\n" % code, "exited")
        assert client.info()["metrics"]["processes_started"] == len(expected)
    assert not procs.zombies(guestd.pid)


@pytest.mark.parametrize("env", [{}, {"GUESTD_NO_CGROUP": "1"}], ids=["groups", "walks"])
def test_a_tree_dies_afterwards(start, env):
    guestd = start(env=env)
    with guestd.connect() as client:
        process = client.commands.run("setsid sleep 60 & sleep 60", background=True, tag="tree")
        left = client.commands.run("setsid sleep 61 >/dev/null 2>&1 & exit 0", background=True)
        left.wait(20)
    until(lambda: len(guestd.jobs()) == 4, "its tree is up, and a daemon")
    upgrade(guestd)
    with guestd.connect() as client:
        client.commands.kill(tag="tree")
        record = client.commands.wait(tag="tree", timeout=20)
        assert (record.reason, record.killed_descendants) == ("killed", 2)
        assert client.commands.run("echo on").stdout == "on\n"
    until(lambda: len(guestd.jobs()) == 1, "only the daemon is left")
    assert process.pid


def test_who_holds_a_forgotten_programs_pipes_is_not_hit(start, folder):
    guestd = start()
    with guestd.connect() as client:
        script = "(%s; echo late; touch written; exec sleep 60) & exit 0" % until_there("go")
        client.commands.run(script, background=True, tag="left", cwd=str(folder))
        assert client.commands.wait(tag="left", timeout=20).fields["pipes_open"]
        client.commands.forget(tag="left")
    upgrade(guestd)
    (folder / "go").touch()
    until((folder / "written").exists, "it could write")
    with guestd.connect() as client:
        with fails("not_found"):
            client.commands.get(tag="left")
        assert client.commands.list() == []
        procs.kill(guestd.jobs())
    until(lambda: not [fd for fd in procs.fds(guestd.pid) if fd.startswith("pipe:")], "its pipes are closed")


def test_program_of_the_command_line(start, folder):
    guestd = start(program=["/bin/sh", "-c", until_there(folder / "go") + "; exit 42"])
    assert upgrade(guestd) == upgrades.NEXT_VERSION
    with guestd.connect() as client:
        assert client.commands.get(tag="main").state == "running"
    (folder / "go").touch()
    guestd.ended(42)


def test_limits_and_addresses_stay(start):
    guestd = start("--processes", 7, "--max-frame", 1 << 20, "--grace", 0.2, token="secret")
    with guestd.connect() as client:
        limits = client.hello()["limits"]
    upgrade(guestd)
    with guestd.connect() as client:
        assert client.hello()["limits"] == limits
    with pytest.raises(ConnectionLost, match="unauthenticated"):
        guestd.connect(token="wrong")


def test_a_signal_that_ends_guestd_meanwhile_is_obeyed(start):
    """SIGTERM at any moment of the swap."""
    for wait in (0, 0.005, 0.01, 0.02, 0.03, 0.05):
        guestd = start()
        with guestd.connect() as client:
            client.commands.run("sleep", ["60"], background=True)
            upgrades.ask(client, upgrades.NEXT, supervisor=True)
        time.sleep(wait)
        guestd.process.send_signal(signal.SIGTERM)
        guestd.ended(0)


# ── what is refused ──

@pytest.mark.parametrize("path", ["/bin/false", "/bin/true", upgrades.STRANGER, upgrades.HANGS],
                         ids=["fails", "knows nothing", "stranger", "hangs"])
def test_one_that_can_not_take_over_is_refused(start, path):
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("sleep", ["60"], background=True)
        agent = guestd.agent()
        with fails("unsupported", field="supervisor"):
            upgrades.ask(client, path, supervisor=True)
        assert client.commands.get(pid=process.pid).state == "running"
        info = client.info()
        assert (info["upgrade"]["state"], info["reexecs"], info["metrics"]["reaped_orphans"]) == ("none", 0, 0)
        assert guestd.agent() == agent
    # It is no obstacle to the next one.
    assert upgrade(guestd) == upgrades.NEXT_VERSION


def test_another_one_meanwhile_is_busy(start):
    guestd = start()
    with guestd.connect() as client, guestd.connect() as other:
        asked = client.start("upgrade", path=str(upgrades.HANGS), sha256=upgrades.digest(upgrades.HANGS), supervisor=True)
        until(lambda: [pid for pid in procs.children(guestd.pid) if pid != guestd.agent()], "it is asked")
        for both in (True, False):
            with fails("busy"):
                upgrades.ask(other, upgrades.NEXT, supervisor=both)
        with fails("unsupported", field="supervisor"):
            asked.result(20 * SLOWER)


def test_who_asked_dies_before_the_answer(start):
    guestd = start()
    with guestd.connect() as client:
        client.start("upgrade", path=str(upgrades.HANGS), sha256=upgrades.digest(upgrades.HANGS), supervisor=True)
        old = guestd.agent()
        until(lambda: [pid for pid in procs.children(guestd.pid) if pid != old], "it is asked")
        os.kill(old, signal.SIGKILL)
    until(lambda: guestd.agent() != old, "the next agent is there")
    until(lambda: len(procs.children(guestd.pid)) == 1, "nobody is asked any more")
    assert upgrade(guestd) == upgrades.NEXT_VERSION


# ── the way back ──

def test_one_whose_agent_does_not_serve_is_rolled_back_with_its_supervisor(start):
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("sleep", ["60"], background=True, stdin_open=True)
        assert upgrades.ask(client, upgrades.FOREIGN, supervisor=True) == {}
    check_rolled_back(guestd, process)
    with guestd.connect() as client:
        info = client.info()
        assert (info["version"], info["supervisor_version"], info["reexecs"]) == (VERSION, VERSION, 2)
    assert not procs.exe(guestd.pid).startswith("/memfd:")
    assert upgrade(guestd) == upgrades.NEXT_VERSION
    # And from a file that is a memfd itself.
    with guestd.connect() as client:
        before = client.info()["upgrade"]
        assert upgrades.ask(client, upgrades.FOREIGN, supervisor=True) == {}
    assert upgrades.outcome(guestd, before) == ("rolled_back", upgrades.NEXT_VERSION)
    with guestd.connect() as client:
        info = client.info()
        assert (info["version"], info["supervisor_version"], info["reexecs"]) == ("99.0.0", "99.0.0", 5)
        assert client.commands.get(pid=process.pid).state == "running"


def test_a_deadline_that_passes_on_the_way_there_and_back(start):
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("sleep", ["60"], background=True, timeout=0.3, kill_grace=0.1)
        upgrades.ask(client, upgrades.FOREIGN, supervisor=True)
    assert upgrades.outcome(guestd)[0] == "rolled_back"
    with guestd.connect() as client:
        assert client.commands.wait(pid=process.pid, timeout=20).reason == "timed_out"
