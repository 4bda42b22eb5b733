"""An older kernel: what guestd has a fallback for is refused (without.c), and each fallback is seen at work. Here one by
one; tests/run.sh runs the tests that are marked `fallback` that way too."""

import fcntl
import os
import pathlib

import pytest

import procs
from server import GUESTD, Shared
from terminal import Terminal
from test_restart import kill_agent
from until import until
from upgrades import NEXT, NEXT_VERSION, upgrade

WITHOUT = pathlib.Path(GUESTD).resolve().parents[1] / "tests/e2e/without"
F_GET_SEALS, SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_FUTURE_WRITE = 1034, 1, 2, 4, 16
OLD = {"shell": 'set -- "%s" "$@"' % WITHOUT, "env": {"GUESTD_NO_CGROUP_KILL": "1"}}
MIB = 1 << 20


@pytest.fixture(scope="module")
def shared():
    guestd = Shared(**OLD)
    yield guestd
    guestd.stop()


def seals(pid, name):
    """Of each memfd of that name that a process holds."""
    found = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        path = "/proc/%d/fd/%s" % (pid, fd)
        if os.readlink(path).startswith("/memfd:" + name):
            with open(path, "rb") as file:
                found.append(fcntl.fcntl(file, F_GET_SEALS))
    return found


def test_programs_are_forked_and_signalled_by_pid(guestd, client):
    """No clone3, no pidfd_open, no pidfd_send_signal."""
    process = client.commands.run("sleep", ["60"], background=True)
    assert "anon_inode:[pidfd]" not in procs.fds(guestd.pid)
    process.kill("TERM")
    assert (process.wait(20).reason, process.wait(20).signal) == ("killed", "SIGTERM")


def test_stores_are_sealed_as_far_as_can_be(guestd, client):
    """No F_SEAL_FUTURE_WRITE."""
    process = client.commands.run("echo kept; exec sleep 60", background=True)
    found = seals(guestd.pid, "guestd-store")
    assert found and set(found) == {SEAL_SEAL | SEAL_SHRINK | SEAL_GROW}
    until(lambda: (procs.exe(process.pid) or "").endswith("sleep"), "it has said so")
    process.kill()
    assert process.wait(20, output=True).stdout == "kept\n"


def test_a_terminal_is_found_by_its_path(client):
    """No TIOCGPTPEER."""
    terminal = Terminal.run(client, "sh", "-c", "test -t 0 && echo there >$(tty)")
    assert terminal.result()["exit_code"] == 0
    assert terminal.bytes == b"there\r\n"


def test_an_upload_has_a_name_while_it_is_staged(client, folder):
    """No O_TMPFILE."""
    path = folder / "file"
    path.write_bytes(b"old")
    request = client.start("file.write", path=str(path), stream=True)
    request.send(b"x" * MIB)
    [temp] = until(lambda: [name for name in os.listdir(folder) if name != "file"], "it is staged")
    assert path.read_bytes() == b"old"
    request.end()
    request.result(20)
    assert os.listdir(folder) == ["file"] and path.read_bytes() == b"x" * MIB


def test_a_broken_upload_leaves_no_name_behind(start, folder):
    guestd = start(**OLD)
    with guestd.connect() as client:
        client.start("file.write", path=str(folder / "file"), stream=True).send(b"x" * MIB)
        until(lambda: os.listdir(folder), "it is staged")
    until(lambda: not os.listdir(folder), "it is gone with its connection")
    with guestd.connect() as client:
        client.start("file.write", path=str(folder / "file"), stream=True).send(b"x" * MIB)
        until(lambda: os.listdir(folder), "it is staged")
        kill_agent(guestd)
    until(lambda: not os.listdir(folder), "the next agent removes it")


@pytest.mark.parametrize("supervisor", [None, True], ids=["agent", "both"])
def test_another_version_takes_over(start, supervisor):
    """No memfds that are made to be executed, and no seal for it."""
    guestd = start(**OLD)
    with guestd.connect() as client:
        process = client.commands.run("sleep", ["60"], background=True)
    assert upgrade(guestd, NEXT, supervisor=supervisor) == NEXT_VERSION
    with guestd.connect() as client:
        process = client.commands.get(pid=process.pid)
        process.kill()
        assert process.wait(20).reason == "killed"


BIRTHS = [{"GUESTD_NO_CLONE_INTO_CGROUP": "1"}, {"GUESTD_NO_CLONE3": "1"}]


@pytest.mark.parametrize("env", BIRTHS, ids=["moved", "forked"])
def test_who_is_not_born_in_its_group_moves_there(start, env):
    """Linux 5.3 to 5.6, and before."""
    guestd = start(env=env)
    with guestd.connect() as client:
        if client.hello()["kill_tree"] != "cgroup":
            pytest.skip("no cgroups here")
        groups = {client.commands.run("grep ^0: /proc/self/cgroup; sleep 0").stdout for _ in range(2)}
        own = (procs.PROC / str(guestd.pid) / "cgroup").read_text()
        assert all(group.startswith("0::/") and group not in own for group in groups)
        process = client.commands.run("setsid sleep 60 & setsid sleep 60 & wait", background=True)
        until(lambda: len(guestd.jobs()) == 3, "all of them run")
        process.kill()
        until(lambda: not guestd.jobs(), "nothing is left")


def test_a_frozen_group_is_killed_one_by_one(start):
    """No cgroup.kill: many that fork on while they are killed."""
    guestd = start(env={"GUESTD_NO_CGROUP_KILL": "1"})
    with guestd.connect() as client:
        if client.hello()["kill_tree"] != "cgroup":
            pytest.skip("no cgroups here")
        process = client.commands.run("f() { while :; do (setsid sleep 60 &); sleep 0.01; done; }; f & f & wait",
                                      background=True)
        until(lambda: len(guestd.jobs()) > 30, "it rages")
        process.kill()
        result = process.wait(20)
        assert (result.reason, result.descendants) == ("killed", 0)
        assert result.killed_descendants >= 30
        assert not guestd.jobs()
