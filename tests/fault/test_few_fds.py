"""guestd with 64 file descriptors: what it can't do it refuses by name, and it goes on."""

import collections
import os

import pytest

import kill_agent  # noqa: F401  (the path to the next)
import procs
import server
from guestproto import ConnectionLost, GuestError


@pytest.fixture
def guestd():
    guestd = server.Guestd(shell="ulimit -n 64")
    yield guestd
    guestd.stop()


def outcomes(requests):
    found = collections.Counter()
    for request in requests:
        try:
            request.result(20 * kill_agent.SLOWER)
            found["ok"] += 1
        except GuestError as error:
            found[error.code] += 1
    return found


def test_many_at_once_are_refused_by_name_and_the_next_work(guestd):
    with guestd.connect() as client:
        for _ in range(3):
            found = outcomes([client.start("exec", cmd="/bin/sh", args=["-c", "sleep 0.1; cat"], stdin=b"x" * 100000)
                              for _ in range(200)])
            assert set(found) == {"ok", "limit_exceeded"}, found
            assert client.commands.run("echo on").stdout == "on\n"
        assert client.info()["restarts"] == 0


def test_exited_jobs_do_not_use_them_up(guestd):
    """Each that is remembered has an fd of its own."""
    with guestd.connect() as client:
        for number in range(200):
            assert client.commands.run("echo on", tag="job-%d" % number).stdout == "on\n"
        assert client.commands.wait(tag="job-0", output=True).stdout == "on\n"
        old = guestd.agent()
        os.kill(old, 9)
        server.until(lambda: not procs.alive(old) and guestd.agent(), "a new agent is there")
    with guestd.connect() as client:
        assert client.commands.wait(tag="job-199", output=True).stdout == "on\n"
        assert client.commands.run("echo on").stdout == "on\n"


def test_open_stdins_are_counted_too():
    guestd = server.Guestd(shell="ulimit -n 3000")
    with guestd.connect() as client:
        found = outcomes([client.start("exec", cmd="sleep", args=["1000"], background=True, stdin_open=True)
                          for _ in range(200)])
        while set(found) == {"ok"}:
            found = outcomes([client.start("exec", cmd="sleep", args=["1000"], background=True, stdin_open=True)
                              for _ in range(200)])
        assert set(found) <= {"ok", "limit_exceeded"}, found
        old = guestd.agent()
    free = 3000 - len(os.listdir("/proc/%d/fd" % guestd.pid))
    assert free > 500, "a quarter is for those that exited: only %d fds are left" % free
    os.kill(old, 9)
    server.until(lambda: not procs.alive(old) and guestd.agent(), "a new agent is there")
    guestd.stop()


def test_pipes_that_outlive_their_jobs_are_counted_too():
    """A daemon holds what its exec was answered without: it must leave enough for an agent, and for killing."""
    guestd = server.Guestd(shell="ulimit -n 600")
    with guestd.connect() as client:
        witness = client.commands.run("sleep 1000 & wait", background=True)
        found = collections.Counter()
        while found["ok"] < 400 and not found["limit_exceeded"]:
            found += outcomes([client.start("exec", cmd="/bin/sh", args=["-c", "sleep 1000 &"]) for _ in range(20)])
        assert set(found) == {"ok", "limit_exceeded"}, found
        client.commands.kill(witness.pid)
        client.call("process.wait", pid=witness.pid, timeout=10 * kill_agent.SLOWER)
        old = guestd.agent()
    free = 600 - len(os.listdir("/proc/%d/fd" % guestd.pid))
    assert free > 150, "a quarter is for those that exited: only %d fds are left" % free
    os.kill(old, 9)
    server.until(lambda: not procs.alive(old) and guestd.agent(), "a new agent is there")
    guestd.stop()


def test_connections_beyond_them_are_no_end(guestd):
    others = []
    with guestd.connect() as client:
        try:
            while True:
                others.append(guestd.connect())
        except (ConnectionLost, OSError):
            pass
        assert len(others) > 5
        client.ping()  # none is left for a program's pipes, but those who are served stay served
        with pytest.raises(GuestError) as refused:
            client.commands.run("true")
        assert refused.value.code == "limit_exceeded"
        for other in others:
            other.close()
        server.until(lambda: outcomes([client.start("exec", cmd="true")])["ok"], "programs run again")
