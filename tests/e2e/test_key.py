"""exec with `key`: the same request asked again joins the run that began, from any connection and after the agent's death.

Each run appends a line to a file, so that a second one can't hide.
"""

import os
import signal
import threading

import pytest

import procs
from expect import fails
from guestproto import ConnectionLost, Data, Gap, GuestError
from until import until

KIB = 1024


def runs(folder):
    return (folder / "runs").read_text().count("\n") if (folder / "runs").exists() else 0


def asked(folder, script="", **params):
    return {"cmd": "sh", "args": ["-c", "echo run >> runs; " + script], "cwd": str(folder), **params}


def streamed(request):
    """pid, what stdout brought, its gaps, and the result."""
    started, text, gaps = None, b"", []
    for item in request:
        if isinstance(item, Data) and item.ch == "stdout":
            text += item.data
        elif isinstance(item, Gap):
            gaps.append((item.start, item.end))
        elif getattr(item, "event", None) == "started":
            started = item.fields
    return started["pid"], text, gaps, request.result(20)


def kill_agent(guestd):
    old = guestd.agent()
    os.kill(old, signal.SIGKILL)
    return until(lambda: guestd.agent() != old and guestd.agent(), "a new agent is there")


def test_a_background_exec_asked_twice_runs_once(guestd, client, folder):
    request = asked(folder, "sleep 60", background=True, key="bg-once")
    first = client.call("exec", **request)
    with guestd.connect() as other:
        assert other.call("exec", **request) == first
    until(lambda: runs(folder), "it runs")
    client.call("process.kill", pid=first["pid"])
    assert client.call("exec", **request) == first  # it has exited, and is remembered
    assert runs(folder) == 1


def test_a_captured_exec_is_answered_to_all_who_ask(guestd, client, folder):
    request = asked(folder, "until [ -e go ]; do sleep 0.01; done; echo out; echo err >&2; exit 5", key="captured")
    with guestd.connect() as other:
        asking = [client.start("exec", **request), other.start("exec", **request), client.start("exec", **request)]
        until(lambda: runs(folder), "it runs")
        asking.append(other.start("exec", **request))
        client.ping()
        (folder / "go").touch()
        results = [one.result(20) for one in asking]
    assert results[0]["stdout"] == "out\n" and results[0]["stderr"] == "err\n" and results[0]["exit_code"] == 5
    assert all(result == results[0] for result in results)
    assert client.call("exec", **request) == results[0]
    assert runs(folder) == 1


def test_a_streamed_exec_is_joined_while_it_runs_and_after(guestd, client, folder):
    request = asked(folder, "seq 1 1000; until [ -e go ]; do sleep 0.01; done; seq 1001 2000", stream=True, key="streamed")
    whole = "".join("%d\n" % n for n in range(1, 2001)).encode()
    with guestd.connect() as other:
        first = client.start("exec", **request)
        until(lambda: runs(folder), "it runs")
        second = other.start("exec", **{**request, "window": 100000})
        assert second.next(20).event == "started"
        (folder / "go").touch()
        pid, text, gaps, result = streamed(first)
        assert (text, gaps) == (whole, [])
        assert b"".join(item.data for item in second if isinstance(item, Data)) == whole
        assert second.result(20) == result
    assert streamed(client.start("exec", **request)) == (pid, whole, [], result)
    assert runs(folder) == 1


def test_two_at_the_same_moment_are_one(guestd, folder):
    for n in range(20):
        request = asked(folder, "echo $$", key="moment-%d" % n, user="root")
        clients = [guestd.connect() for _ in range(4)]
        results = [c.start("exec", **request) for c in clients]
        assert len({one.result(20)["stdout"] for one in results}) == 1
        assert runs(folder) == n + 1
        for c in clients:
            c.close()


@pytest.mark.parametrize("other", [{"args": ["-c", "exit 1"]}, {"timeout": 5}, {"envs": {"A": "2", "B": "1"}}, {"stdin": b""},
                                   {"cwd": "/"}, {"kill_rest": True}, {"background": True}, {"max_output": 1000},
                                   {"encoding": "raw"}, {"user": "root"}, {"tag": "mine"}])
def test_another_request_with_the_key_is_refused(client, folder, other):
    key = "same-" + repr(other)
    request = {"cmd": "sh", "args": ["-c", "exit 0"], "envs": {"A": "1", "B": "2"}, "key": key}
    client.call("exec", **request)
    with fails("already_exists", field="key"):
        client.call("exec", **{**request, **other})


def test_what_makes_no_difference(client):
    first = client.call("exec", cmd="echo", args=["x"], envs={"A": "1", "B": "2"}, key="alike", timeout=7)
    for other in ({"envs": {"B": "2", "A": "1"}}, {"timeout": 7.0}, {"args": [b"x"]}, {"background": False},
                  {"encoding": "auto"}):
        request = {"cmd": "echo", "args": ["x"], "envs": {"A": "1", "B": "2"}, "key": "alike", "timeout": 7, **other}
        assert client.call("exec", **request) == first


@pytest.mark.parametrize("key", ["", "k" * 257, b"bin", 7])
def test_what_no_key_is(client, key):
    with fails("invalid_request", field="key"):
        client.call("exec", cmd="true", key=key)


def test_long_and_strange_keys(client, folder):
    for key in ("k" * 256, "ключ", "a b/c\t", "7"):
        request = asked(folder, "echo $$", key=key)
        assert client.call("exec", **request) == client.call("exec", **request)
    assert runs(folder) == 4


def test_a_start_that_failed_is_remembered_by_nobody(client, folder):
    request = {"cmd": str(folder / "later"), "key": "fails-first"}
    with fails("not_found", field="cmd"):
        client.call("exec", **request)
    (folder / "later").write_text("#!/bin/sh\nexit 3\n")
    (folder / "later").chmod(0o755)
    assert client.call("exec", **request)["exit_code"] == 3


def test_a_tag_taken_by_the_run_itself_is_no_clash(client, folder):
    request = asked(folder, "sleep 60", key="tagged", tag="its-tag", background=True)
    assert client.call("exec", **request) == client.call("exec", **request)
    with fails("already_exists", field="tag"):
        client.call("exec", **{**request, "key": "another"})
    client.call("process.kill", tag="its-tag")


def test_cancelling_by_one_ends_it_for_all(guestd, client, folder):
    request = asked(folder, "echo up; sleep 60", key="cancelled")
    with guestd.connect() as other:
        first, second = client.start("exec", **request), other.start("exec", **request)
        until(lambda: runs(folder), "it runs")
        first.cancel()
        results = [first.result(20), second.result(20)]
    assert results[0] == results[1]
    assert (results[0]["reason"], results[0]["exit_code"]) == ("cancelled", 137)
    assert client.call("exec", **request) == results[0]
    until(lambda: not guestd.jobs(), "nothing is left")


@pytest.mark.parametrize("stream", [True, None])
def test_a_lost_connection_ends_a_run_only_when_nobody_else_waits(guestd, client, folder, stream):
    request = asked(folder, "echo up; until [ -e go ]; do sleep 0.01; done; echo on", key="lost-%s" % stream, stream=stream)
    first, second = guestd.connect(), guestd.connect()
    for one in first, second:
        one.start("exec", **request)
    until(lambda: runs(folder), "it runs")
    mine = client.start("exec", **request)
    first.close()
    second.close()
    client.ping()
    assert client.call("process.list")["processes"]
    (folder / "go").touch()
    result = mine.result(20)
    assert (result["reason"], result["exit_code"]) == ("exited", 0)
    assert runs(folder) == 1


@pytest.mark.parametrize("stream", [True, None])
def test_the_last_callers_lost_connection_ends_it(guestd, client, folder, stream):
    request = asked(folder, "sleep 60", key="all-lost-%s" % stream, stream=stream)
    clients = [guestd.connect() for _ in range(3)]
    for one in clients:
        one.start("exec", **request)
    until(lambda: runs(folder), "it runs")
    for one in clients:
        one.close()
    until(lambda: not guestd.jobs(), "the tree is dead")
    assert client.start("exec", **request).result(20)["reason"] == "cancelled"
    assert runs(folder) == 1


def test_the_next_caller_becomes_the_opener(guestd, client, folder):
    """The first, for whom the program waits, is gone: the second has every byte."""
    request = asked(folder, "seq 1 200000", stream=True, key="opener", max_output=64 * KIB)
    whole = "".join("%d\n" % n for n in range(1, 200001)).encode()
    first = guestd.connect()
    opening = first.start("exec", window=10, auto_credit=False, **request)
    pid = opening.next(20).fields["pid"]
    mine = client.start("exec", **request)
    assert mine.next(20).event == "started"
    until(lambda: procs.stat(pid)[0] == "S", "the program waits for its pipe")
    first.close()
    assert b"".join(item.data for item in mine if isinstance(item, Data)) == whole
    result = mine.result(20)
    assert (result["reason"], result["truncated"]) == ("exited", False)


# ── the agent's death ──


def test_after_the_agents_death_the_key_finds_its_run(start, folder):
    guestd = start()
    background = asked(folder, "sleep 60", background=True, key="bg")
    captured = asked(folder, "until [ -e go ]; do sleep 0.01; done; seq 1 20000", key="captured")
    done = asked(folder, "echo done", key="done")
    with guestd.connect() as client:
        first = client.call("exec", **background)
        result = client.call("exec", **done)
        lost = client.start("exec", **captured)
        until(lambda: runs(folder) == 3, "all three began")
        kill_agent(guestd)
        with pytest.raises(ConnectionLost):
            lost.result(20)
    with guestd.connect() as client:
        again = client.start("exec", **captured)
        assert client.call("exec", **background) == first
        assert client.call("exec", **done) == result
        with fails("already_exists", field="key"):
            client.call("exec", **{**done, "args": ["-c", "true"]})
        (folder / "go").touch()
        assert again.result(20)["stdout"] == "".join("%d\n" % n for n in range(1, 20001))
    assert runs(folder) == 3


def test_a_rejoined_run_is_cancelled_by_its_only_callers_loss(start, folder):
    guestd = start()
    request = asked(folder, "sleep 60", key="lost")
    with guestd.connect() as client:
        client.start("exec", **request)
        until(lambda: runs(folder), "it runs")
        kill_agent(guestd)
    with guestd.connect() as client:
        client.start("exec", **request)
        client.ping()
        assert client.call("process.list")["processes"]
    until(lambda: not guestd.jobs(), "the tree is dead")


def test_an_agent_killed_between_the_start_and_the_answer_starts_nothing_twice(start, folder):
    """Killed at that moment again and again; who asked asks again, with the key: each run happens once."""
    guestd = start()
    for n in range(60):
        request = asked(folder, "echo $$", key="moment-%d" % n, background=n % 2 == 0 or None)
        client = guestd.connect()
        client.ping()
        agent = guestd.agent()
        asking = client.start("exec", **request)
        if n % 3:  # else: right behind the request
            until(lambda: runs(folder) > n or asking.done, "it began")
        os.kill(agent, signal.SIGKILL)
        try:
            asking.result(20)
        except ConnectionLost:
            pass
        client.close()
        with guestd.connect() as client:
            answer = client.call("exec", **request)
            assert client.call("exec", **request) == answer
            client.call("process.wait", pid=answer["pid"], timeout=20)
        assert runs(folder) == n + 1
