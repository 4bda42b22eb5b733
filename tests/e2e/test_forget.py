"""process.forget: an exited process's record, output, tag and key go at once; nobody who still uses them is disturbed."""

import os
import signal

import pytest

import procs
from expect import fails
from guestproto import Data
from until import until

pytestmark = pytest.mark.valgrind

LATE = "(until [ -e go ]; do sleep 0.01; done; head -c 1000000 /dev/zero; echo $? > done) &"


def exited(client, script, **params):
    process = client.commands.run("sh", ["-c", script], background=True, **params)
    process.wait(20)
    return process


def holder_is_done(folder):
    (folder / "go").touch()
    until(lambda: (folder / "done").exists() and (folder / "done").read_text(), "the holder has written all")
    assert (folder / "done").read_text() == "0\n", "no SIGPIPE"


def test_nothing_is_left_of_it(client):
    process = exited(client, "echo out", tag="gone")
    assert client.call("process.forget", tag="gone") == {}
    for method in ("process.get", "process.wait", "process.attach", "process.kill", "process.forget"):
        with fails("not_found"):
            client.call(method, pid=process.pid)
        with fails("not_found"):
            client.call(method, tag="gone")
    assert process.pid not in [p.pid for p in client.commands.list(exited=True)]


def test_a_running_one_is_busy(client):
    process = client.commands.run("sleep", ["60"], background=True, tag="runs")
    with fails("busy"):
        client.call("process.forget", tag="runs")
    assert client.commands.get(tag="runs").state == "running"
    process.kill()
    assert client.call("process.forget", pid=process.pid) == {}


def test_of_two_with_the_tag_the_newest_goes(client):
    first = exited(client, "exit 1", tag="twice")
    exited(client, "exit 2", tag="twice")
    client.call("process.forget", tag="twice")
    assert client.commands.get(tag="twice").pid == first.pid


def test_its_key_begins_anew(client, folder):
    params = dict(cmd="sh", args=["-c", "echo ran >> ran"], cwd=str(folder), key="anew")
    first = client.call("exec", **params)
    assert client.call("exec", **params)["pid"] == first["pid"]
    client.call("process.forget", pid=first["pid"])
    assert client.call("exec", **params)["pid"] != first["pid"]
    assert (folder / "ran").read_text() == "ran\nran\n"


def test_who_is_attached_still_gets_all(guestd, client):
    process = exited(client, "seq 1 30000")
    with guestd.connect() as other:
        request = other.start("process.attach", pid=process.pid, window=1000, auto_credit=False)
        assert request.next(20).event == "started"
        client.call("process.forget", pid=process.pid)
        text, request.auto_credit = b"", True
        request.credit(1 << 20)
        for item in request:
            if isinstance(item, Data):
                text += item.data
        assert text == b"".join(b"%d\n" % n for n in range(1, 30001))
        assert request.result(20)["exit_code"] == 0


def test_who_holds_its_pipes_is_not_disturbed(guestd, client, folder):
    process = exited(client, LATE, cwd=str(folder))
    assert client.commands.get(pid=process.pid).fields["pipes_open"]
    client.call("process.forget", pid=process.pid)
    holder_is_done(folder)
    until(lambda: not guestd.jobs(), "the holder is gone")


def test_who_holds_its_stdin_still_gets_it(guestd, client, folder):
    """More than a pipe takes: the rest waits in guestd when the record goes."""
    script = """exec 3<&0
        (until [ -e go ]; do sleep 0.01; done; exec wc -c <&3 >count) >/dev/null 2>&1 &
        exec 3<&- </dev/null
        until [ -e leave ]; do sleep 0.01; done"""
    process = client.commands.run("sh", ["-c", script], background=True, stdin_open=True, cwd=str(folder))
    assert client.call("process.input", pid=process.pid, data=b"x" * 300000)["off"] == 300000
    (folder / "leave").touch()
    process.wait(20)
    client.call("process.forget", pid=process.pid)
    (folder / "go").touch()
    until(lambda: (folder / "count").exists() and (folder / "count").read_text(), "stdin has come to its end")
    assert (folder / "count").read_text() == "300000\n"


def test_it_stays_forgotten_and_the_supervisor_keeps_nothing(start, folder):
    guestd = start()
    with guestd.connect() as client:
        exited(client, "true")
        client.call("process.forget", pid=exited(client, "true").pid)
        before = len(procs.fds(guestd.pid))
        process = exited(client, LATE, cwd=str(folder), tag="held")
        client.call("process.forget", tag="held")
        old = guestd.agent()
        os.kill(old, signal.SIGKILL)
        until(lambda: guestd.agent() != old, "a new agent is there")
        client.ping()  # the client connects again
        for method in ("process.get", "process.attach"):
            with fails("not_found"):
                client.call(method, pid=process.pid)
        holder_is_done(folder)
        until(lambda: len(procs.fds(guestd.pid)) == before, "its pipes are closed")


@pytest.mark.parametrize("dies", [False, True], ids=["one agent", "a new agent"])
def test_where_fds_are_few_holders_are_not_disturbed_either(start, folder, dies):
    """Records of which only the agent knows: the supervisor has no store for what their holders write."""
    guestd = start(shell="ulimit -n 64")
    with guestd.connect() as client:
        client.commands.run("sh", ["-c", LATE], background=True, cwd=str(folder)).wait(20)
        for _ in range(40):
            client.commands.run("true")
        if dies:
            old = guestd.agent()
            os.kill(old, signal.SIGKILL)
            until(lambda: guestd.agent() != old, "a new agent is there")
            assert client.info()["restarts"] == 1
        holder_is_done(folder)
        assert client.commands.run("echo on").stdout == "on\n"
