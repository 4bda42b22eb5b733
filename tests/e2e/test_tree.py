"""The whole tree: descendants that left the group, the session, or their parent, with cgroups and without."""

import os
import signal
import sys

import pytest

import procs
from expect import fails
from server import Shared
from until import until

pytestmark = [pytest.mark.valgrind, pytest.mark.fallback]

DOUBLE_FORK = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        os.rename(sys.argv[1], sys.argv[2])
        os.execvp("sleep", ["sleep", "60"])
    os._exit(0)
os.wait()
"""


@pytest.fixture(scope="module", params=["as it is", "no cgroup"])
def shared(request):
    guestd = Shared(env={"GUESTD_NO_CGROUP": "1"} if request.param == "no cgroup" else {})
    yield guestd
    guestd.stop()


def test_hello_tells_how_trees_are_killed(client, request):
    kind = client.hello()["kill_tree"]
    assert kind in ("cgroup", "best_effort")
    if "no cgroup" in request.node.name:
        assert kind == "best_effort"


@pytest.fixture
def script(folder):
    """A shell line that starts a plain child, a setsid'ed one that ignores SIGTERM, and a double-forked daemon."""
    (folder / "daemon.py").write_text(DOUBLE_FORK)
    return ("sleep 60 & setsid sh -c 'trap \"\" TERM; sleep 60; sleep 60' & %s daemon.py tmp daemon; touch up; "
            % sys.executable)


def tree_is_up(guestd, folder):
    until(lambda: (folder / "up").exists() and (folder / "daemon").exists(), "the tree is up")
    # The leader may sleep too, a moment at a time.
    until(lambda: len([pid for pid in guestd.jobs() if procs.arguments(pid) == [b"sleep", b"60"]]) == 3, "all of them sleep")


SPLIT = """
import os, signal, sys
own = next(line[3:].strip() for line in open("/proc/self/cgroup") if line.startswith("0::"))
mount = next(line.split()[4] for line in open("/proc/self/mountinfo") if " - cgroup2 " in line)
inner = mount + own + "/inner/most"
os.makedirs(inner)
open("groups", "w").write(mount + own)
def ended(*_):
    open("ended", "w").close()
    sys.exit()
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, ended)
    open(inner + "/cgroup.procs", "w").write("0")
    open("up", "w").close()
    while True:
        signal.pause()
signal.pause()
"""


def split_up(client, folder):
    if client.hello()["kill_tree"] != "cgroup":
        pytest.skip("no cgroup to split up")
    process = client.commands.run(sys.executable, ["-c", SPLIT], background=True, cwd=str(folder))
    until(lambda: (folder / "up").exists(), "it has split its group up")
    return process


def test_groups_that_a_program_makes_in_its_own_are_its_tree(start, folder):
    guestd = start()
    with guestd.connect() as client:
        process = split_up(client, folder)
        process.kill("TERM")
        until(lambda: (folder / "ended").exists(), "it has got the signal too")
        result = process.wait(20)
        assert (result.signal, result.killed_descendants + result.descendants) == ("SIGTERM", 1)
        groups = (folder / "groups").read_text()
        until(lambda: client.commands.run("true") and not os.path.exists(groups), "they go, at another start at the latest")


def test_the_group_that_a_daemon_leaves_late_goes_too(start, folder):
    """Also when there are groups enough for those that start meanwhile."""
    guestd = start()
    with guestd.connect() as client:
        process = split_up(client, folder)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(20).descendants == 1
        client.commands.run("true")
        groups = (folder / "groups").read_text()
        assert os.path.exists(groups)
        [daemon] = guestd.jobs()
        os.kill(daemon, signal.SIGTERM)
        until(lambda: client.commands.run("true") and not os.path.exists(groups), "it goes with the next that ends")


def test_kill_takes_the_whole_tree(guestd, client, folder, script):
    process = client.commands.run(script + "wait", background=True, cwd=str(folder))
    tree_is_up(guestd, folder)
    process.kill()
    until(lambda: not guestd.jobs(), "nothing is left")
    result = process.wait(20)
    assert (result.reason, result.exit_code, result.descendants) == ("killed", 137, 0)


def test_a_timeout_takes_the_whole_tree(guestd, client, folder, script):
    result = client.commands.run(script + "echo up; wait", cwd=str(folder), timeout=1.5, kill_grace=0.2)
    assert (result.reason, result.exit_code, result.stdout) == ("timed_out", 124, "up\n")
    assert 1500 <= result.duration_ms < 20000
    assert result.killed_descendants >= 3 and result.descendants == 0
    assert guestd.jobs() == []


def test_a_lost_connection_takes_the_whole_tree(guestd, folder, script):
    client = guestd.connect()
    client.start("exec", cmd="sh", args=["-c", script + "wait"], cwd=str(folder), kill_grace=0.1)
    tree_is_up(guestd, folder)
    client.close()
    until(lambda: not guestd.jobs(), "nothing is left")


def test_a_leader_that_exits_leaves_its_descendants_alone(guestd, client, folder, script):
    result = client.commands.run(script + "until [ -e go ]; do sleep 0.01; done", cwd=str(folder), background=True)
    tree_is_up(guestd, folder)
    (folder / "go").touch()
    result = result.wait(20)
    assert (result.reason, result.exit_code, result.killed_descendants) == ("exited", 0, 0)
    assert result.descendants == 4  # the child, the shell that ignores TERM and its sleep, the daemon
    left = guestd.jobs()
    assert len(left) == 4
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def test_kill_rest_takes_the_descendants_of_a_leader_that_exits(guestd, client, folder, script):
    process = client.commands.run(script + "until [ -e go ]; do sleep 0.01; done; exit 3", cwd=str(folder),
                                  background=True, kill_rest=True)
    tree_is_up(guestd, folder)
    (folder / "go").touch()
    result = process.wait(20)
    assert (result.reason, result.exit_code, result.descendants) == ("exited", 3, 0)
    assert result.killed_descendants == 4
    assert guestd.jobs() == []


def test_output_of_the_tree_before_its_end_is_kept(client):
    result = client.commands.run("(echo child; exec sleep 60) & echo leader; wait", timeout=0.5, kill_grace=0.1)
    assert sorted(result.stdout.split()) == ["child", "leader"]
    assert result.reason == "timed_out"


def test_sigterm_first_and_sigkill_after_the_grace(client, folder):
    polite = client.commands.run("trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done", timeout=0.5,
                                 kill_grace=20)
    assert (polite.reason, polite.exit_code, polite.stdout) == ("timed_out", 124, "bye\n")
    assert polite.duration_ms < 15000
    stubborn = client.commands.run("trap '' TERM; while :; do sleep 0.01; done", timeout=0.5, kill_grace=0.5)
    assert (stubborn.reason, stubborn.exit_code, stubborn.signal) == ("timed_out", 124, "SIGKILL")
    assert stubborn.duration_ms >= 1000


def test_a_stopped_process_is_killed_too(client):
    result = client.commands.run("kill -STOP $$", timeout=0.5, kill_grace=0.2)
    assert (result.reason, result.signal) == ("timed_out", "SIGKILL")


def test_a_timeout_of_zero_is_none_and_the_default_is_thirty_seconds(client):
    assert client.commands.run("sleep 0.3", timeout=0).exit_code == 0
    with fails("invalid_request", field="timeout"):
        client.commands.run("true", timeout=-1)


def test_a_fork_storm_is_caught(guestd, client):
    """Children that fork on while they are killed: repeated until nothing is left."""
    storm = "f() { while :; do (setsid sh -c 'sleep 0.05; exec sleep 60' &) ; sleep 0.01; done; }; f & f & wait"
    process = client.commands.run(storm, background=True)
    until(lambda: len(guestd.jobs()) > 30, "it rages")
    process.kill()
    until(lambda: not guestd.jobs(), "nothing is left")


def test_orphans_are_reaped(guestd, client):
    """Daemons that end by themselves leave no zombie at guestd."""
    for _ in range(20):
        client.commands.run("(setsid sh -c 'exit 0' &)")
    until(lambda: not procs.zombies(guestd.pid), "no zombie is left")
