"""Trees that resist: a bomb that forks while it is killed, processes that are stopped, frozen, or ignore SIGTERM."""

import os
import pathlib
import sys
import time

import pytest

import procs
from test_tree import shared  # noqa: F401  (a fixture: with cgroups and without)
from until import until

pytestmark = pytest.mark.fallback

BOMB = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
leader = os.getpid()
while True:
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork() > 0:
                os._exit(0)
    except OSError:
        if os.getpid() != leader and not os.path.exists("up"):
            open("up", "w").close()
        time.sleep(0.05)
"""


def test_a_fork_bomb_of_500_is_caught_while_it_forks(guestd, client, folder, as_root):
    """Each ignores SIGTERM, has left its session and its parent, and forks as soon as there is room for one more."""
    folder.chmod(0o777)
    uid = 2147480000 - os.getpid()  # nobody else's: its processes are counted
    process = client.commands.run(sys.executable, ["-c", BOMB], background=True, timeout=600, cwd=str(folder),
                                  user=str(uid), limits={"nproc": 500})
    until(lambda: (folder / "up").exists(), "they are 500", 60)
    process.kill()
    result = process.wait(60)
    assert (result.reason, result.exit_code, result.descendants) == ("killed", 137, 0)
    assert result.killed_descendants >= 250
    until(lambda: not guestd.jobs(), "nothing is left")


MIXED = """
sh -c 'trap "sleep 0.2; echo bye >polite; exit" TERM; touch up1; while :; do sleep 0.01; done' &
setsid sh -c 'trap "" TERM; touch up2; while :; do read nothing; done' <fifo &
sh -c 'touch up3; kill -STOP $$; :' &
setsid sh -c 'trap "" TERM; touch up4; kill -STOP $$; :' &
touch up5
wait
while :; do wait; done
"""


@pytest.mark.parametrize("how", ["timed_out", "cancelled"])
def test_the_grace_is_everybodys_and_then_they_are_killed(guestd, client, folder, how):
    """One that cleans up gets to; one that ignores SIGTERM, and two that are stopped, have their grace too, and die."""
    os.mkfifo(folder / "fifo")
    writer = os.open(folder / "fifo", os.O_RDWR)
    try:
        request = client.start("exec", cmd="sh", args=["-c", "trap : TERM\n" + MIXED], cwd=str(folder), kill_grace=1,
                               timeout=3 if how == "timed_out" else 600)
        until(lambda: all((folder / ("up%d" % n)).exists() for n in range(1, 6)), "the tree is up")
        until(lambda: [procs.stat(pid)[0] for pid in guestd.jobs() if procs.stat(pid)].count("T") == 2, "two are stopped")
        begun = time.monotonic()
        if how == "cancelled":
            request.cancel()
        result = request.result(30)
        assert (result["reason"], result["signal"], result["descendants"]) == (how, "SIGKILL", 0)
        assert result["killed_descendants"] >= 3
        assert (folder / "polite").read_text() == "bye\n"
        if how == "cancelled":
            assert time.monotonic() - begun >= 1
        else:
            assert result["duration_ms"] >= 4000
        assert not guestd.jobs()
    finally:
        os.close(writer)


def group_of(pid):
    """The folder of its cgroup v2, or None where there is none."""
    mounts = [line.split() for line in open("/proc/mounts")]
    points = [point for _, point, kind, *_ in mounts if kind == "cgroup2"]
    groups = [line[3:].rstrip() for line in open("/proc/%d/cgroup" % pid) if line.startswith("0::")]
    return pathlib.Path(points[0] + groups[0]) if points and groups else None


def test_guestd_moves_only_for_a_gain(guestd, client):
    """To move to a cgroup takes ten times as long as a start: where no controllers are to be had, it stays."""
    if client.hello()["kill_tree"] != "cgroup":
        pytest.skip("no cgroup v2 here that it may write to")
    assert client.commands.run("cat /proc/self/cgroup").stdout.count("/jobs/") == 1
    ours = group_of(os.getpid())  # where it was started
    gain = {"memory", "pids", "cpu"} & set((ours / "cgroup.controllers").read_text().split())
    where = group_of(guestd.pid)
    assert where.name == "self" if gain else where == ours


def test_frozen_processes_are_killed_too(guestd, client, as_root):
    """Their group is frozen: a SIGTERM waits, and the SIGKILL does not."""
    process = client.commands.run("(setsid sleep 60 &) ; sleep 60", background=True, timeout=600)
    until(lambda: len(guestd.jobs()) == 3, "they run")
    group = group_of(process.pid)
    if group is None:
        pytest.skip("no cgroup v2 here")
    made = None
    if group == group_of(guestd.pid):  # it has none of its own: all of them move into one
        made = group = group / ("frozen-%d" % process.pid)
        made.mkdir()
        for pid in guestd.jobs():
            (made / "cgroup.procs").write_text(str(pid))
    try:
        (group / "cgroup.freeze").write_text("1")
        until(lambda: "frozen 1" in (group / "cgroup.events").read_text(), "they are frozen")
        process.kill()
        result = process.wait(20)
        assert (result.reason, result.descendants) == ("killed", 0)
        assert result.killed_descendants == 2
        assert not guestd.jobs()
    finally:
        if made:
            made.rmdir()
