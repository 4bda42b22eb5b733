"""The agent dies, by SIGKILL in the middle of its work: connections are lost, and nothing else."""

import os
import signal

import pytest

import procs
from guestproto import ConnectionLost
from until import until

pytestmark = [pytest.mark.valgrind, pytest.mark.fallback]


def kill_agent(guestd):
    """Kills it and waits for the next one."""
    old = guestd.agent()
    os.kill(old, signal.SIGKILL)
    return until(lambda: guestd.agent() != old and guestd.agent(), "a new agent is there")


def test_new_connections_are_served_and_the_old_ones_know(start):
    guestd = start()
    with guestd.connect() as client:
        instance = client.hello()["instance"]
        request = client.start("exec", cmd="sleep", args=["60"])
        until(lambda: guestd.jobs(), "it runs")
        kill_agent(guestd)
        with pytest.raises(ConnectionLost):
            request.result(20)
    with guestd.connect() as client:
        assert client.commands.run("echo on").stdout == "on\n"
        assert client.info()["restarts"] == 1
        assert client.hello()["instance"] == instance
    with start().connect() as client:
        assert client.hello()["instance"] != instance
    assert not procs.zombies(guestd.pid)


def test_running_and_exited_jobs_are_taken_over(start, folder):
    guestd = start()
    with guestd.connect() as client:
        script = "echo before; until [ -e go ]; do sleep 0.01; done; echo after; exit 6"
        runs = client.commands.run(script, background=True, tag="runs", cwd=str(folder), user="root")
        done = client.commands.run("echo done; exit 4", background=True, tag="done")
        done.wait(20)
        running, exited = client.commands.get(tag="runs").fields, client.commands.get(tag="done").fields
    kill_agent(guestd)
    with guestd.connect() as client:
        assert client.commands.get(tag="runs").fields == running
        assert client.commands.get(tag="done").fields == exited
        result = client.commands.wait(tag="done", output=True)
        assert (result.stdout, result.exit_code, result.pid) == ("done\n", 4, done.pid)
        (folder / "go").touch()
        result = client.commands.wait(pid=runs.pid, output=True, timeout=20)
        assert (result.stdout, result.exit_code) == ("before\nafter\n", 6)


def test_what_exits_while_nobody_looks_is_not_lost(start, folder):
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("until [ -e go ]; do sleep 0.01; done; echo alone; exit 9", background=True,
                                      cwd=str(folder))
    os.kill(guestd.agent(), signal.SIGSTOP)
    (folder / "go").touch()
    until(lambda: not procs.alive(process.pid), "it ended, and the agent did not see it")
    kill_agent(guestd)
    with guestd.connect() as client:
        result = client.commands.wait(pid=process.pid, output=True, timeout=20)
        assert (result.stdout, result.exit_code, result.reason) == ("alone\n", 9, "exited")


def test_a_foreground_job_goes_on_and_is_found_by_its_tag(start, folder):
    """The agent's death is no lost connection."""
    guestd = start()
    with guestd.connect() as client:
        client.start("exec", cmd="sh", args=["-c", "echo one; until [ -e go ]; do sleep 0.01; done; echo two"],
                     tag="front", cwd=str(folder))
        until(lambda: client.commands.list(), "its tag is known")
        kill_agent(guestd)
    with guestd.connect() as client:
        assert client.commands.get(tag="front").state == "running"
        (folder / "go").touch()
        assert client.commands.wait(tag="front", output=True, timeout=20).stdout == "one\ntwo\n"


def test_output_is_whole_over_many_deaths(start):
    """A program that prints all along, and an agent that is killed again and again: no byte lost, none twice."""
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done",
                                      background=True, max_output=8 << 20, tag="printer")
    deaths = 0
    while procs.alive(process.pid):
        kill_agent(guestd)
        deaths += 1
    with guestd.connect() as client:
        result = client.commands.wait(tag="printer", output=True, timeout=20)
    assert deaths > 0
    assert (result.exit_code, result.signal, result.reason) == (0, None, "exited")
    assert result.stdout == "".join("line %d\n" % n for n in range(60000))


def test_a_timeout_holds_while_the_agent_is_down(start):
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("sleep", ["60"], background=True, timeout=0.5, kill_grace=0.1)
        os.kill(guestd.agent(), signal.SIGSTOP)
        until(lambda: not procs.alive(process.pid), "its deadline came")
        kill_agent(guestd)
    with guestd.connect() as client:
        assert client.commands.wait(pid=process.pid, timeout=20).reason == "timed_out"


def test_kill_works_on_a_job_of_an_agent_before(start):
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("setsid sleep 60 & sleep 60", background=True)
    until(lambda: len(guestd.jobs()) == 3, "its tree is up")
    kill_agent(guestd)
    with guestd.connect() as client:
        client.commands.kill(pid=process.pid)
        assert client.commands.get(pid=process.pid).reason == "killed"
    until(lambda: not guestd.jobs(), "nothing is left")


def test_tags_and_pids_stay_taken(start):
    guestd = start()
    with guestd.connect() as client:
        client.commands.run("sleep", ["60"], background=True, tag="mine")
    kill_agent(guestd)
    with guestd.connect() as client:
        with pytest.raises(Exception) as caught:
            client.commands.run("true", background=True, tag="mine")
        assert caught.value.code == "already_exists"
        assert len(client.commands.list()) == 1


def test_an_upload_cut_by_the_agents_death_leaves_the_old_file_and_no_litter(start, folder):
    guestd = start()
    (folder / "f").write_bytes(b"old")
    with guestd.connect() as client:
        request = client.start("file.write", path=str(folder / "f"), stream=True)
        request.send(b"x" * (1 << 20))
        kill_agent(guestd)
    with guestd.connect() as client:
        client.ping()
    until(lambda: os.listdir(folder) == ["f"], "no litter is left")
    assert (folder / "f").read_bytes() == b"old"


def test_an_agent_that_hangs_is_replaced(start):
    """A link message unanswered for ten seconds, while there is somebody to serve."""
    guestd = start()
    with guestd.connect() as client:
        client.commands.run("sleep", ["60"], background=True, tag="stays")
        old = guestd.agent()
        os.kill(old, signal.SIGSTOP)
        until(lambda: not procs.alive(old), "it is given up", 30)
    with guestd.connect() as client:
        assert client.commands.get(tag="stays").state == "running"


def test_many_deaths_leave_no_fd_behind(start):
    guestd = start()
    with guestd.connect() as client:
        client.commands.run("true")
    kill_agent(guestd)
    with guestd.connect() as client:
        client.commands.run("true")
    before = procs.fds(guestd.pid)
    for _ in range(10):
        kill_agent(guestd)
        with guestd.connect() as client:
            assert client.commands.run("echo on").stdout == "on\n"
    until(lambda: len(procs.fds(guestd.pid)) == len(before), "the supervisor's fds are as before")
    assert not procs.zombies(guestd.pid)
