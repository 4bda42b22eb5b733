"""Another agent takes the old one's place, from a newer file: connections are lost, and nothing else. One that doesn't
come to serve is replaced by the old one."""

import os
import shutil
import time

import pytest

import procs
import upgrades
from expect import fails
from guestproto import ConnectionLost
from server import GUESTD
from until import SLOWER, until

pytestmark = pytest.mark.fallback

VERSION = "0.1.0"


# ── the swap ──

def test_the_next_version_serves(start):
    guestd = start()
    with guestd.connect() as client:
        assert client.info()["upgrade"] == {"state": "none", "at": None}
        assert client.hello()["version"] == VERSION
    old = guestd.agent()
    began = time.time()
    assert upgrades.upgrade(guestd, upgrades.NEXT) == upgrades.NEXT_VERSION
    with guestd.connect() as client:
        assert client.hello()["version"] == upgrades.NEXT_VERSION
        info = client.info()
        assert info["upgrade"]["state"] == "done" and began <= info["upgrade"]["at"] <= time.time()
        assert (info["supervisor_version"], info["reexecs"], info["restarts"]) == (VERSION, 0, 1)
        assert client.commands.run("echo on").stdout == "on\n"
    assert not procs.alive(old) and not procs.zombies(guestd.pid)


def test_and_back_again(start):
    guestd = start()
    assert upgrades.upgrade(guestd, upgrades.NEXT) == upgrades.NEXT_VERSION
    assert upgrades.upgrade(guestd, GUESTD) == VERSION


def test_an_agent_that_dies_afterwards_comes_back_as_the_new_version(start):
    guestd = start()
    upgrades.upgrade(guestd, upgrades.NEXT)
    old = guestd.agent()
    os.kill(old, 9)
    until(lambda: guestd.agent() != old, "the next agent is there")
    with guestd.connect() as client:
        assert client.hello()["version"] == upgrades.NEXT_VERSION


def test_what_was_hashed_is_what_runs(start, folder):
    """The file may go or change as soon as the answer is there."""
    guestd = start()
    copy = folder / "new"
    shutil.copy(upgrades.NEXT, copy)
    with guestd.connect() as client:
        assert upgrades.ask(client, copy) == {}
        copy.unlink()
    assert upgrades.outcome(guestd) == ("done", upgrades.NEXT_VERSION)


def test_the_answer_comes_before_the_connection_goes(start):
    guestd = start()
    for path in (upgrades.NEXT, GUESTD) * 3:
        with guestd.connect() as client, guestd.connect() as other:
            waits = other.start("exec", cmd="sleep", args=["60"])
            until(lambda: guestd.jobs(), "it runs")
            assert upgrades.ask(client, path) == {}
            with pytest.raises(ConnectionLost):
                waits.result(20)
        upgrades.outcome(guestd)


def test_jobs_go_on_and_keep_all_they_have(start, folder):
    guestd = start()
    with guestd.connect() as client:
        script = "echo before; until [ -e go ]; do sleep 0.01; done; echo after; exit 6"
        runs = client.commands.run(script, background=True, tag="runs", cwd=str(folder))
        front = client.start("exec", cmd="sh", args=["-c", script], tag="front", cwd=str(folder))
        done = client.commands.run("echo done; exit 4", background=True, tag="done")
        done.wait(20)
        until(lambda: len(client.commands.list()) == 2, "both run")
        fields = {tag: client.commands.get(tag=tag).fields for tag in ("runs", "front", "done")}
        upgrades.ask(client, upgrades.NEXT)
        with pytest.raises(ConnectionLost):
            front.result(20)
    upgrades.outcome(guestd)
    with guestd.connect() as client:
        for tag, was in fields.items():
            assert client.commands.get(tag=tag).fields == was
        with fails("already_exists"):
            client.commands.run("true", background=True, tag="runs")
        (folder / "go").touch()
        for tag in ("runs", "front"):
            result = client.commands.wait(tag=tag, output=True, timeout=20)
            assert (result.stdout, result.exit_code, result.reason) == ("before\nafter\n", 6, "exited")
        result = client.commands.wait(tag="done", output=True)
        assert (result.stdout, result.exit_code, result.pid) == ("done\n", 4, done.pid)
    assert runs.pid == fields["runs"]["pid"]


def test_a_deadline_that_passes_meanwhile_is_kept(start):
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("sleep", ["60"], background=True, timeout=0.5, kill_grace=0.1)
        upgrades.ask(client, upgrades.HANGS)
    until(lambda: not procs.alive(process.pid), "its deadline came", 3)
    assert upgrades.outcome(guestd)[0] == "rolled_back"
    with guestd.connect() as client:
        assert client.commands.wait(pid=process.pid, timeout=20).reason == "timed_out"


# ── the way back ──

def check_rolled_back(guestd, process):
    assert upgrades.outcome(guestd) == ("rolled_back", VERSION)
    with guestd.connect() as client:
        assert client.commands.get(pid=process.pid).state == "running"
        assert client.commands.run("echo on").stdout == "on\n"
        process = client.commands.get(pid=process.pid)
    assert not procs.zombies(guestd.pid)


@pytest.mark.parametrize("path", ["/bin/false", upgrades.FOREIGN, upgrades.HANGS], ids=["crashes", "foreign", "hangs"])
def test_one_that_does_not_serve_is_rolled_back(start, path):
    guestd = start()
    with guestd.connect() as client:
        process = client.commands.run("sleep", ["60"], background=True)
        asked = time.monotonic()
        assert upgrades.ask(client, path) == {}
    check_rolled_back(guestd, process)
    assert time.monotonic() - asked < 7 * SLOWER
    if path == upgrades.FOREIGN:
        assert "of the link, this agent 1000 (1000)" in guestd.stderr()
    # It is no obstacle to the next one.
    assert upgrades.upgrade(guestd, upgrades.NEXT) == upgrades.NEXT_VERSION


def test_who_comes_meanwhile_waits(start):
    """Nobody serves while a new one has its five seconds."""
    guestd = start()
    old = guestd.agent()
    with guestd.connect() as client:
        upgrades.ask(client, upgrades.HANGS)
    until(lambda: not procs.alive(old), "the old one is gone")
    with guestd.connect() as client:
        assert client.info()["upgrade"]["state"] == "rolled_back"


# ── what is refused ──

def test_files_that_can_not_be_executed(client, folder):
    (folder / "text").write_text("#!/bin/sh\n")
    (folder / "empty").touch()
    elf = bytearray(open(GUESTD, "rb").read(64))
    elf[18:20] = b"\x99\x99"  # e_machine
    (folder / "alien").write_bytes(elf)
    for name in ("text", "empty", "alien"):
        with fails("wrong_type", field="path"):
            upgrades.ask(client, folder / name)
    with fails("not_found", field="path"):
        client.call("upgrade", path=str(folder / "none"), sha256="0" * 64)
    with fails("wrong_type", field="path"):
        client.call("upgrade", path=str(folder), sha256="0" * 64)
    with fails("wrong_type", field="path"):
        client.call("upgrade", path="/dev/zero", sha256="0" * 64)


def test_another_digest(client):
    with fails("invalid_request", field="sha256"):
        client.call("upgrade", path=GUESTD, sha256="0" * 64)
    with fails("invalid_request", field="sha256"):
        client.call("upgrade", path=GUESTD, sha256="zz")
    with fails("invalid_request", field="sha256"):
        client.call("upgrade", path=GUESTD)
    assert client.info()["upgrade"]["state"] == "none"
