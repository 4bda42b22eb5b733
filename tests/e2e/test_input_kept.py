"""What programs haven't read of their stdin: it is bounded, and no death of the agent loses or doubles it."""

import hashlib
import os
import signal

import pytest

import procs
import spec_client as sc
from feeding import CREDIT, Feeder, ask, cat, result, sleeper
from until import SLOWER, until

pytestmark = pytest.mark.valgrind


def rss_kb(pid):
    return int(procs.status(pid, "VmRSS")[0])


@pytest.mark.plain_only
@pytest.mark.native  # valgrind holds on to 20 MB of what was freed
def test_those_who_never_read_cost_bounded_memory(start):
    guestd = start("--stdin-buffer", 1 << 20, "--queue-total", 16 << 20)
    with sc.Client(guestd.address) as client:
        client.hello()
        pids = [sleeper(client) for _ in range(40)]
        before = [rss_kb(guestd.pid), rss_kb(guestd.agent())]
        for pid in pids:  # 40 MiB were there one after the other: 16 of them wait
            for _ in range(16):
                answer = ask(client, "process.input", pid=pid, data=b"x" * (1 << 16))
                assert type(answer) is dict or answer[:2] == ("busy", "data")
        for _ in range(200):
            assert ask(client, "process.input", pid=pids[-1], data=b"x" * (1 << 20))[0] == "busy"
        assert rss_kb(guestd.pid) - before[0] < 24 << 10
        assert rss_kb(guestd.agent()) - before[1] < 16 << 10
        client.call("process.kill", pid=pids[0])
        for pid in pids[1:]:
            client.call("process.kill", pid=pid)
        free = cat(client)
        assert client.call("process.input", pid=free, data=b"x" * 1000) == {"off": 1000}


def test_a_full_stdin_delays_nobody_else(spec):
    pid = sleeper(spec)
    call = spec.start("exec", cmd="sleep", args=["1000"], stdin_open=True, stream=True)
    call.upload(b"x" * CREDIT)
    while type(ask(spec, "process.input", pid=pid, data=b"x" * 100000)) is dict:
        pass
    assert spec.call("exec", cmd="cat", stdin=b"whole")["stdout"] == "whole"
    assert spec.call("ping")
    call.cancel()
    call.wait(30 * SLOWER)

def kill_agent(guestd):
    old = guestd.agent()
    os.kill(old, signal.SIGKILL)
    return until(lambda: guestd.agent() != old and guestd.agent(), "a new agent is there")


def test_what_was_answered_survives_the_agent(start):
    guestd = start()
    with sc.Client(guestd.address) as client:
        pid = client.call("exec", cmd="sh", args=["-c", "sleep 1; cat"], stdin_open=True, background=True)["pid"]
        assert client.call("process.input", pid=pid, data=b"x" * 900000) == {"off": 900000}
        dead = client.call("exec", cmd="head", args=["-c", "1"], stdin_open=True, background=True)["pid"]
        client.call("process.input", pid=dead, data=b"abc")
        client.call("process.wait", pid=dead)
        ended = cat(client)
        client.call("process.input", pid=ended, data=b"abc")
        shut = client.call("exec", cmd="sh", args=["-c", "sleep 1; cat"], stdin_open=True, background=True)["pid"]
        client.call("process.input", pid=shut, data=b"abc")
        client.call("process.close_stdin", pid=shut)
    kill_agent(guestd)
    with sc.Client(guestd.address) as client:
        assert client.call("process.input", pid=pid, data=b"x" * 900000, off=0) == {"off": 900000}
        assert client.call("process.input", pid=pid, data=b"y", off=900000) == {"off": 900001}
        client.call("process.close_stdin", pid=pid)
        assert result(client, pid)["stdout"] == b"x" * 900000 + b"y"
        assert client.call("process.input", pid=dead, data=b"", off=0) == {"off": 3, "closed": True}
        assert client.call("process.input", pid=ended, data=b"abcdef", off=0) == {"off": 6}
        assert client.call("process.close_stdin", pid=ended) == {}
        assert result(client, ended)["stdout"] == b"abcdef"
        assert client.call("process.input", pid=shut, data=b"more") == {"off": 3, "closed": True}
        assert result(client, shut)["stdout"] == b"abc"


def test_an_agent_killed_again_and_again_loses_and_doubles_nothing(start):
    guestd = start()
    with sc.Client(guestd.address) as client:
        pid = client.call("exec", cmd="sha256sum", stdin_open=True, background=True)["pid"]
    feeder = Feeder(pid, os.urandom(1 << 20), 8 << 20)
    for kills in range(10):
        with sc.Client(guestd.address) as client:
            feeder.feed(client, feeder.total * kills // 12)
            calls, old = feeder.start(client), guestd.agent()
            os.kill(old, signal.SIGKILL)  # with these under way
            try:
                feeder.hear(calls)
            except (sc.Lost, OSError):
                pass
        until(lambda: guestd.agent() != old and guestd.agent(), "a new agent is there")
    with sc.Client(guestd.address) as client:
        feeder.feed(client, feeder.total)
        assert client.call("process.input", pid=pid, data=b"")["off"] == feeder.total
        client.call("process.close_stdin", pid=pid)
        end = result(client, pid)
    sha = hashlib.sha256(feeder.block * 8).hexdigest()
    assert end["stdout"].split()[0].decode() == sha


@pytest.mark.plain_only
def test_where_the_supervisor_has_no_room_either_it_is_busy_and_goes_on_later(start):
    """A byte a program costs it a page: 64 KiB for all are over long before the agent has counted as many."""
    guestd = start("--queue-total", 1 << 16)
    with sc.Client(guestd.address) as client:
        client.hello()
        pids, refused = [sleeper(client) for _ in range(24)], []
        for pid in pids:
            for pages in (15, 1):  # its pipe is full then
                off = client.call("process.input", pid=pid, data=b"x" * pages * 4096)["off"]
            answer = ask(client, "process.input", pid=pid, data=b"x")
            if answer != {"off": off + 1}:
                refused.append(pid)
                assert answer == ("busy", "data", {"off": off})
        assert refused
        call = client.start("exec", cmd="cat", stdin_open=True, stream=True)
        call.upload(b"y" * 200000)
        call.end()
        for pid in pids:
            assert client.call("process.input", pid=pid, data=b"") == {"off": off + (pid not in refused)}
        for pid in pids:
            client.call("process.kill", pid=pid)
        call.wait(30 * SLOWER)
        assert bytes(call.data["stdout"]) == b"y" * 200000
